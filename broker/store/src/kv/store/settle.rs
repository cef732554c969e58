//! What a start does to the files before the store goes on: see [`settle`].

use super::seal::{end_frame, list};
use crate::OpenError;
use crate::kv::contents::Contents;
use crate::kv::recover::{Last, Recovered};
use crate::log::format::{FrameHeader, HEADER, StoreId, VOID, VOID_AT};
use crate::log::given_up;
use crate::log::segment::{Segment, UNFINISHED, name_of};
use std::io;
use std::ops::Range;

/// Makes what was recovered safe and unambiguous. Damaged bytes are copied aside, foreign files are set aside, and a batch
/// without its end is voided. Bytes that may not be synced are synced, and segments that were not closed are closed. Returns the
/// number of the last frame, and whether the last list leaves out all dead segments.
pub(super) fn settle(recovered: &Recovered, store: StoreId) -> Result<(u64, bool), OpenError> {
    let Recovered { contents, unfinished, last, .. } = recovered;
    let names = contents.disk.list().map_err(|error| OpenError::Io("the directory".to_owned(), error))?;
    if names.iter().any(|name| name == UNFINISHED) {
        contents.disk.remove(UNFINISHED).map_err(|error| OpenError::Io(UNFINISHED.to_owned(), error))?;
    }
    copy_damaged_aside(recovered, &names);
    set_foreign_aside(recovered, &names)?;
    // The list of absent segments is on disk before the log goes on without them.
    let given_up = given_up::add(&*contents.disk, recovered.absent.iter().copied());
    given_up.map_err(|error| OpenError::Io(given_up::NAME.to_owned(), error))?;
    for &(index, at) in unfinished {
        let segment = contents.segments.get(index);
        let void = segment.file.write_all_at(&[VOID], at + VOID_AT as u64).and_then(|()| segment.file.sync());
        void.map_err(|error| OpenError::Io(segment.name.clone(), error))?;
    }
    let mut end = LogEnd { number: recovered.number, is_listed: false };
    for &Last { segment, unsynced, is_closed } in last {
        let segment = contents.segments.get(segment);
        let closed = write_again(segment, unsynced)
            .and_then(|()| if is_closed { Ok(()) } else { end.close(segment, recovered, store) });
        closed.map_err(|error| OpenError::Io(segment.name.clone(), error))?;
    }
    Ok((end.number, end.is_listed))
}

/// Copies damaged bytes to files of their own. If that fails the store is opened all the same.
fn copy_damaged_aside(recovered: &Recovered, names: &[String]) {
    let contents = &recovered.contents;
    for (index, range) in &recovered.damaged {
        let segment = contents.segments.get(*index);
        let name = format!("damaged-{:08x}-{}", segment.header.seq, range.start);
        if !names.contains(&name)
            && let Err(error) = set_aside(contents, *index, range.clone(), &name)
        {
            tracing::warn!(%error, "what is damaged could not be copied to {name}");
        }
    }
}

/// Renames files of other stores to names that no segment has.
fn set_foreign_aside(recovered: &Recovered, names: &[String]) -> Result<(), OpenError> {
    let disk = &recovered.contents.disk;
    for name in &recovered.report.damage.foreign {
        let mut aside =
            (1_u32..).map(|copy| if copy == 1 { format!("{name}.foreign") } else { format!("{name}.foreign-{copy}") });
        let aside = aside.find(|aside| !names.contains(aside)).unwrap_or_else(|| format!("{name}.foreign"));
        let renamed = disk.rename(name, &aside).and_then(|()| disk.sync_names());
        renamed.map_err(|error| OpenError::Io(name.clone(), error))?;
    }
    Ok(())
}

/// After a sync that failed, memory pages look as if they were written to disk. To be sure that they are, all bytes from
/// `unsynced` on are written once more.
fn write_again(segment: &Segment, unsynced: u64) -> io::Result<()> {
    let mut bytes = vec![0; (segment.end - unsynced.min(segment.end)) as usize];
    let filled = segment.file.read_all_at(&mut bytes, unsynced)?;
    segment.file.write_all_at(&bytes[..filled], unsynced)?;
    segment.file.sync()
}

/// Where the log ends.
struct LogEnd {
    /// The number of the last frame.
    number: u64,
    /// The last list leaves out all dead segments.
    is_listed: bool,
}

impl LogEnd {
    /// Closes a segment that was not closed, with a list before its end if there is room.
    fn close(&mut self, segment: &Segment, recovered: &Recovered, store: StoreId) -> io::Result<()> {
        let (nonce, synced) = (segment.header.nonce, self.number);
        let (instant, wall) = (recovered.report.instant_ms, recovered.report.wall_ms);
        let all_last: Vec<u32> = recovered.last.iter().map(|last| last.segment).collect();
        let area = list(&recovered.contents, store, &all_last);
        let mut end = Vec::new();
        if segment.end + (area.len() + 2 * HEADER) as u64 <= segment.header.len {
            self.number += 1;
            let (number, len, heads_crc) = (self.number, area.len() as u32, crc32fast::hash(&area));
            let is_list = true;
            let header =
                FrameHeader { is_list, nonce, number, synced, instant, wall, len, heads_crc, ..FrameHeader::default() };
            end.extend_from_slice(&header.encode());
            end.extend_from_slice(&area);
            self.is_listed = true;
        }
        self.number += 1;
        end.extend_from_slice(&end_frame(nonce, self.number, synced, (instant, wall), 0));
        segment.file.write_all_at(&end, segment.end)?;
        segment.file.sync()
    }
}

/// Gives each file the name of its segment's number. Files of other stores have been set aside before.
pub(super) fn put_names_right(contents: &mut Contents) -> io::Result<()> {
    let wrong = contents.segments.iter().filter(|(_, segment)| segment.name != name_of(segment.header.seq));
    let wrong: Vec<u32> = wrong.map(|(index, _)| index).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let mut spare = u32::MAX;
    for index in wrong {
        let right = name_of(contents.segments.get(index).header.seq);
        let names: Vec<String> = contents.segments.iter().map(|(_, segment)| segment.name.clone()).collect();
        // If another segment has that name, its file first gets a name that no segment has. Meanwhile that segment is known by
        // its header, as before.
        let holder = contents.segments.iter().find(|(_, segment)| segment.name == right).map(|(holder, _)| holder);
        if let Some(holder) = holder {
            while names.contains(&name_of(spare)) {
                spare -= 1;
            }
            contents.rename(holder, name_of(spare))?;
        }
        contents.rename(index, right)?;
    }
    contents.disk.sync_names()
}

fn set_aside(contents: &Contents, segment: u32, range: Range<usize>, name: &str) -> io::Result<()> {
    let mut bytes = vec![0; range.len()];
    let filled = contents.segments.get(segment).file.read_all_at(&mut bytes, range.start as u64)?;
    let file = contents.disk.create(name)?;
    file.write_all_at(&bytes[..filled], 0)?;
    file.sync()?;
    contents.disk.sync_names()
}
