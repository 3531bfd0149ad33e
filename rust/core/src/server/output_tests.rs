//! The order of what an output writes, and how little memory it keeps.

use super::*;

#[test]
fn bytes_leave_in_order_however_little_each_write_takes() {
    for step in [1, 3, 7, 1000, 100_000] {
        let mut output = Output::default();
        let mut expected = Vec::new();
        for (i, size) in [5, 0, 20_000, 17, 16_384, 1, 2_000].into_iter().enumerate() {
            let bytes = vec![i as u8; size];
            expected.extend_from_slice(&bytes);
            output.push(&bytes);
        }
        assert_eq!(output.len(), expected.len());
        let mut got = Vec::new();
        let write = |chunk: Chunk<'_>| {
            let Chunk::Bytes(slices) = chunk else {
                panic!("no file was given");
            };
            let mut left = step;
            for slice in slices {
                let n = slice.len().min(left);
                got.extend_from_slice(&slice[..n]);
                left -= n;
            }
            Ok(step - left)
        };
        output.flush(write).unwrap();
        assert_eq!(got, expected, "writes of {step}");
        assert!(output.is_empty());
    }
}

/// What else an output keeps besides the bytes of shared payloads, as far as its length shows.
fn own_memory(output: Output) -> usize {
    let lists = output.tail.capacity() + output.pieces.capacity() * size_of::<Piece>();
    let pieces = output.pieces.into_iter().map(|piece| match piece {
        // The allocation itself, with its room.
        Piece::Bytes(bytes) => Vec::from(bytes).capacity(),
        Piece::Shared(..) => 0,
        other => panic!("{other:?}"),
    });
    size_of::<Output>() + lists + pieces.sum::<usize>()
}

#[test]
fn ten_thousand_waiting_copies_of_a_payload_are_one_and_their_heads_are_small() {
    const PEERS: usize = 10_000;
    let head = [0x82, 127, 0, 0, 0, 0, 0, 0x10, 0, 0];
    let payload = Arc::new(vec![b'x'; 1024 * 1024]);
    let mut outputs = Vec::new();
    for _ in 0..PEERS {
        let mut output = Output::default();
        output.push(&head);
        output.push_payload(Payload::Shared(payload.clone()), 0);
        output.push(b"\r\n");
        outputs.push(output);
    }
    for output in &outputs {
        assert_eq!(output.len(), head.len() + payload.len() + 2);
        let Some(Piece::Shared(bytes, _)) = output.pieces.back() else {
            panic!("{:?}", output.pieces);
        };
        assert_eq!(bytes.as_ptr(), payload.as_ptr(), "a copy");
    }
    // The limit of buffered bytes counts them as what they are.
    let counted = outputs.iter().map(Output::in_memory).sum::<usize>();
    assert!(counted < payload.len() + PEERS * 512, "{counted}");
    let own = outputs.into_iter().map(own_memory).sum::<usize>();
    assert!(own < PEERS * 512, "{} bytes each", own / PEERS);
    assert_eq!(Arc::strong_count(&payload), 1);
}

#[test]
fn a_full_socket_keeps_the_rest() {
    let mut output = Output::default();
    output.push(b"abc");
    let mut calls = 0;
    let write = |_: Chunk<'_>| {
        calls += 1;
        if calls == 1 {
            Ok(1)
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    };
    output.flush(write).unwrap();
    assert_eq!(output.len(), 2);
}

#[test]
fn what_is_written_immediately_leaves_no_room() {
    let mut output = Output::default();
    output.push(b"");
    output.push_payload(Payload::Borrowed(b"all"), 3);
    assert_eq!(output.tail.capacity(), 0);
}

#[test]
fn a_head_before_a_piece_takes_little_more_room_than_it_has_bytes() {
    let mut output = Output::default();
    output.push(&[0; 12_000]);
    output.flush(|_| Ok(12_000)).unwrap();
    output.push(&[0; 200]);
    assert!(output.tail.capacity() >= 12_000, "the thread kept it");
    output.seal();
    let Some(Piece::Bytes(head)) = output.pieces.pop_front() else {
        panic!("no piece");
    };
    assert!(Vec::from(head).capacity() <= 200 + LEAST_TAIL);
}

#[test]
fn an_empty_queue_has_no_room_and_a_rest_that_waits_little_of_it() {
    let mut output = Output::default();
    output.push(&[0; 12_000]);
    output.flush(|_| Ok(12_000)).unwrap();
    assert_eq!(output.tail.capacity(), 0);
    output.push(b"rest");
    assert!(output.tail.capacity() >= 12_000, "the thread kept it");
    output
        .flush(|_| Err(io::ErrorKind::WouldBlock.into()))
        .unwrap();
    assert!(output.tail.capacity() <= 2 * LEAST_TAIL);
    assert_eq!(output.tail, b"rest");
}
