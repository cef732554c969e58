//! Segments that a start found missing. The log went on without their records, and cannot take them back. A file keeps their
//! numbers, so that such a segment, if its file comes back later, is not taken for one that holds nothing of use.

use crate::disk::Disk;
use std::collections::BTreeSet;
use std::io;

/// The name of the file. Each line has one number, written as in the names of segments.
pub(crate) const NAME: &str = "given-up";
/// The name under which the file is written before it is renamed.
const NEW: &str = "given-up.new";

pub(crate) fn read(disk: &dyn Disk) -> io::Result<BTreeSet<u32>> {
    let file = match disk.open(NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        opened => opened?,
    };
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let filled = file.read_all_at(&mut bytes, 0)?;
    let text = String::from_utf8_lossy(&bytes[..filled]);
    Ok(text.lines().filter_map(|line| u32::from_str_radix(line, 16).ok()).collect())
}

/// Adds numbers to the file, and makes them safe.
pub(crate) fn add(disk: &dyn Disk, numbers: impl Iterator<Item = u32>) -> io::Result<()> {
    let mut all = read(disk)?;
    let before = all.len();
    all.extend(numbers);
    if all.len() == before {
        return Ok(());
    }
    let text: String = all.iter().map(|number| format!("{number:08x}\n")).collect();
    let file = disk.create(NEW)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.sync()?;
    disk.rename(NEW, NAME)?;
    disk.sync_names()
}
