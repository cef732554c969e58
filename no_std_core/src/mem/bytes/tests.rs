use std::vec::Vec;

use super::super::testing::Random;
use super::*;

/// Runs `test` on both kinds of memory, with room for `blocks` times 60 bytes.
fn with_bytes(blocks: usize, mut test: impl FnMut(Bytes<'_>)) {
    let mut memory = std::vec![Block::EMPTY; blocks];
    test(Bytes::borrowed(&mut memory));
    #[cfg(feature = "alloc")]
    test(Bytes::owned(blocks * BLOCK));
}

#[test]
fn stored_bytes_come_back_until_they_are_released() {
    with_bytes(40, |mut bytes| {
        let mut random = Random::new(7);
        let mut model: Vec<(Blob, Vec<u8>)> = Vec::new();
        let mut refused = 0;
        for step in 0..5_000 {
            if random.below(100) < if step / 250 % 2 == 0 { 60 } else { 40 } {
                let text: Vec<u8> = (0..random.below(400)).map(|_| random.next() as u8).collect();
                let (one, rest) = text.split_at(random.below(text.len() + 1));
                let (two, three) = rest.split_at(random.below(rest.len() + 1));
                let before = bytes.used();
                match bytes.store(&[one, two, three]) {
                    Some(blob) => model.push((blob, text)),
                    None => {
                        assert_eq!(bytes.used(), before);
                        refused += 1;
                    }
                }
            } else if !model.is_empty() {
                let (blob, _) = model.swap_remove(random.below(model.len()));
                bytes.release(blob);
            }
            if let Some((blob, text)) = random.choose(model.iter()) {
                assert_eq!(blob.len(), text.len());
                assert!(bytes.equals(*blob, text));
                let (start, end) = (random.below(text.len() + 2), random.below(text.len() + 9));
                let pieces: Vec<_> = bytes.chunks(*blob, start..end).collect();
                assert!(pieces.iter().all(|piece| !piece.is_empty()));
                let end = end.min(text.len());
                assert_eq!(pieces.concat(), text.get(start..end).unwrap_or(&[]));
                let mut out = [0; 100];
                let copied = bytes.copy(*blob, start, &mut out);
                assert_eq!(out[..copied], text[start.min(text.len())..(start + 100).min(text.len())]);
                if let Some(whole) = bytes.contiguous(*blob) {
                    assert_eq!(whole, text);
                } else {
                    assert!(text.len() > BLOCK);
                }
            }
            let stored: usize = model.iter().map(|(_, text)| text.len()).sum();
            assert!(bytes.used() >= stored && bytes.used() <= bytes.limit());
        }
        assert!(refused > 0, "the limit was never met");
        for (blob, _) in model {
            bytes.release(blob);
        }
        assert_eq!(bytes.used(), 0);
        let all = std::vec![1; bytes.limit()];
        assert!(bytes.store(&[&all, &[0]]).is_none());
        let whole = bytes.store(&[&all]).unwrap();
        assert_eq!(bytes.used(), bytes.limit());
        assert!(bytes.store(&[&[0]]).is_none());
        assert!(bytes.equals(whole, &all));
    });
}

#[test]
fn an_empty_blob_needs_no_memory() {
    with_bytes(0, |mut bytes| {
        assert_eq!(bytes.store(&[]), Some(Blob::EMPTY));
        let blob = bytes.store(&[&[], &[]]).unwrap();
        assert!(blob.is_empty() && bytes.equals(blob, &[]) && !bytes.equals(blob, &[0]));
        assert_eq!(bytes.contiguous(blob), Some(&[][..]));
        bytes.release(blob);
        assert!(bytes.store(&[&[0]]).is_none());
    });
}

#[test]
fn texts_of_equal_length_are_told_apart() {
    with_bytes(10, |mut bytes| {
        let mut text = [b'x'; 150];
        let blob = bytes.store(&[&text]).unwrap();
        for at in [0, 59, 60, 149] {
            text[at] = b'y';
            assert!(!bytes.equals(blob, &text));
            text[at] = b'x';
        }
        assert!(bytes.equals(blob, &text));
    });
}

#[test]
fn bytes_can_be_stored_in_memory_that_was_used_before() {
    let mut memory = [Block { next: Some(Handle::from_index(0)), data: [9; BLOCK] }; 3];
    let mut bytes = Bytes::borrowed(&mut memory);
    let blob = bytes.store(&[&[1; 100]]).unwrap();
    assert!(bytes.equals(blob, &[1; 100]));
    bytes.release(blob);
    assert!(bytes.store(&[&[2; 180]]).is_some());
}
