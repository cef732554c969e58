//! The segments of the log: files of one size, each in one state.

use crate::disk::{Disk, DiskFile};
use crate::log::format::SegmentHeader;

pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) name: String,
    pub(crate) file: Box<dyn DiskFile>,
    /// Bytes of the records that are the latest of their keys, including the tombstones that are needed.
    pub(crate) live: u64,
    /// The offset at which the frames end.
    pub(crate) end: u64,
    pub(crate) state: State,
    /// Something in the segment was damaged: its live records move out as soon as possible.
    pub(crate) is_damaged: bool,
    /// The live records of this segment cannot be moved.
    pub(crate) is_stuck: bool,
}

/// ```text
/// (made or recycled) -> Prepared -> Active -> Sealed -> Dying -> Dead -> Free -> (recycled or removed)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Ready to be written to; holds no records.
    Prepared,
    Active,
    Sealed,
    /// Nothing in the segment is live, but the records that replace its own are not synced yet.
    Dying,
    /// Nothing in the segment is needed, but the last synced list names it.
    Dead,
    /// No list names the segment any more. Its file still exists, so tombstones that void its records are kept.
    Free,
    /// A job overwrites or removes the file. The file may or may not exist.
    Leaving,
}

/// All segments. A segment keeps its index until it is removed.
#[derive(Default)]
pub(crate) struct Segments(Vec<Option<Segment>>);

impl Segments {
    pub(crate) fn add(&mut self, segment: Segment) -> u32 {
        let free = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if free == self.0.len() {
            self.0.push(None);
        }
        self.0[free] = Some(segment);
        free as u32
    }

    pub(crate) fn remove(&mut self, index: u32) {
        self.0[index as usize] = None;
    }

    pub(crate) fn get(&self, index: u32) -> &Segment {
        self.0[index as usize].as_ref().expect("an index in use names a segment")
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Segment {
        self.0[index as usize].as_mut().expect("an index in use names a segment")
    }

    pub(crate) fn find_mut(&mut self, index: u32) -> Option<&mut Segment> {
        self.0.get_mut(index as usize)?.as_mut()
    }

    /// The segment at `index` if it still has the number `seq`.
    pub(crate) fn get_if(&self, index: u32, seq: u32) -> Option<&Segment> {
        self.0.get(index as usize)?.as_ref().filter(|segment| segment.header.seq == seq)
    }

    /// The least number of all segments except the one at `index`.
    pub(crate) fn oldest_besides(&self, index: u32) -> Option<u32> {
        self.iter().filter(|(other, _)| *other != index).map(|(_, segment)| segment.header.seq).min()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Segment)> {
        self.0.iter().enumerate().filter_map(|(index, segment)| Some((index as u32, segment.as_ref()?)))
    }

    pub(crate) fn each_mut(&mut self, mut change: impl FnMut(u32, &mut Segment)) {
        for (index, segment) in self.0.iter_mut().enumerate() {
            if let Some(segment) = segment {
                change(index as u32, segment);
            }
        }
    }

    pub(crate) fn in_state(&self, state: State) -> impl Iterator<Item = (u32, &Segment)> {
        self.iter().filter(move |(_, segment)| segment.state == state)
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }
}

/// The name of the file of the segment with number `seq`.
pub fn name_of(seq: u32) -> String {
    format!("{seq:08x}.segment")
}

/// A file of this name stands in the directory of a copy that is not finished.
pub(crate) const COPYING: &str = "copying";

/// The name of a file that is becoming a segment.
pub(crate) const UNFINISHED: &str = "unfinished";

/// The number in the name of a segment's file.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".segment")?;
    u32::from_str_radix(digits, 16).ok().filter(|&seq| name_of(seq) == *name)
}

/// The numbers of all segments, ascending.
pub(crate) fn list(disk: &dyn Disk) -> std::io::Result<Vec<u32>> {
    let mut numbers: Vec<u32> = disk.list()?.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}
