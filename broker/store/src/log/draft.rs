//! The bytes that the next write appends to the segment: frames, the last of which may be open.

use crate::log::format::{FrameHeader, HEADER, Head};

#[derive(Default)]
pub(crate) struct Draft {
    bytes: Vec<u8>,
    frame: Option<OpenFrame>,
}

struct OpenFrame {
    start: usize,
    heads: crc32fast::Hasher,
}

impl Draft {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        const KEPT: usize = 8 << 20;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
    }

    /// The length of the records in the open frame, if one is open.
    pub(crate) fn frame_len(&self) -> Option<usize> {
        self.frame.as_ref().map(|frame| self.bytes.len() - frame.start - HEADER)
    }

    pub(crate) fn begin_frame(&mut self) {
        self.frame = Some(OpenFrame { start: self.bytes.len(), heads: crc32fast::Hasher::new() });
        self.bytes.resize(self.bytes.len() + HEADER, 0);
    }

    /// Adds a record to the open frame. Returns the offset at which the record begins.
    pub(crate) fn push(&mut self, head: &Head, body: &[u8]) -> usize {
        let at = self.bytes.len();
        let encoded = head.encode();
        if let Some(frame) = &mut self.frame {
            frame.heads.update(&encoded);
        }
        self.bytes.extend_from_slice(&encoded);
        self.bytes.extend_from_slice(body);
        self.bytes.resize(at + head.size(), 0);
        at
    }

    /// Adds a whole frame that is no batch. The length and checksum of `header` are filled in. No frame may be open.
    pub(crate) fn push_frame(&mut self, header: FrameHeader, area: &[u8]) {
        let header = FrameHeader { len: area.len() as u32, heads_crc: crc32fast::hash(area), ..header };
        self.bytes.extend_from_slice(&header.encode());
        self.bytes.extend_from_slice(area);
    }

    /// Closes the open frame with `header`. Its length and checksum are filled in.
    pub(crate) fn end_frame(&mut self, header: FrameHeader) {
        let Some(frame) = self.frame.take() else { return };
        let len = (self.bytes.len() - frame.start - HEADER) as u32;
        let header = FrameHeader { len, heads_crc: frame.heads.finalize(), ..header };
        self.bytes[frame.start..frame.start + HEADER].copy_from_slice(&header.encode());
    }
}
