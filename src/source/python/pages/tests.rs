use super::blocks::by_page;
use super::*;

/// Pages 1 to 99, each full of its own number; those that can be divided by seven cannot be read.
#[derive(Debug)]
struct Numbers {
    /// The kernel copies what comes before a bad page of a piece, or nothing of that piece.
    splits: bool,
}

impl Memory for Numbers {
    fn read(&self, pieces: &[Piece], into: &mut [u8]) -> io::Result<usize> {
        let is_good = |page: u64| (1..100).contains(&page) && !page.is_multiple_of(7);
        let mut read = 0;
        for piece in pieces {
            let parts = by_page(*piece);
            let whole = parts.iter().all(|part| is_good(part.addr / AT));
            let good = parts
                .iter()
                .take_while(|part| (whole || self.splits) && is_good(part.addr / AT));
            for part in good {
                into[part.at..part.at + part.len].fill((part.addr / AT) as u8);
                read += part.len;
            }
            if !whole {
                break;
            }
        }
        Ok(read)
    }
}

/// Every word holds how often something has been read so far.
#[derive(Debug, Default)]
struct Clock(std::sync::atomic::AtomicU64);

impl Memory for Clock {
    fn read(&self, pieces: &[Piece], into: &mut [u8]) -> io::Result<usize> {
        let time = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        for piece in pieces {
            for word in into[piece.at..piece.at + piece.len].chunks_exact_mut(8) {
                word.copy_from_slice(&time.to_ne_bytes());
            }
        }
        Ok(pieces.iter().map(|piece| piece.len).sum())
    }
}

fn pages(splits: bool) -> Pages {
    Pages::new(Box::new(Numbers { splits }), 1000)
}

const AT: u64 = PAGE as u64;

#[test]
fn a_bad_page_costs_itself_and_no_neighbour() {
    for splits in [false, true] {
        let mut pages = pages(splits);
        pages.want(0, 40 * PAGE);
        pages.want(60 * AT, 50 * PAGE);
        pages.fetch().unwrap();
        let calls = pages.calls;
        for page in (0..40).chain(60..110) {
            let good = (1..100).contains(&page) && page % 7 != 0;
            assert_eq!(
                pages.u8(page * AT + 5),
                good.then_some(page as u8),
                "page {page}"
            );
        }
        assert_eq!(pages.calls, calls, "all was wanted beforehand");
        assert_eq!(pages.u64(50 * AT), Some(0x3232_3232_3232_3232));
        assert_eq!(pages.calls, calls + 1, "this was not");
    }
}

#[test]
fn reads_go_over_the_edges_of_pages() {
    let mut pages = pages(true);
    assert_eq!(pages.bytes(2 * AT - 2, 4), Some(vec![1, 1, 2, 2]));
    assert_eq!(
        pages.bytes(AT, 3 * PAGE + 1).map(|b| b.len()),
        Some(3 * PAGE + 1)
    );
    assert_eq!(
        pages.bytes(6 * AT + 4090, 10),
        None,
        "page 7 cannot be read"
    );
    assert_eq!(pages.u32(u64::MAX - 1), None, "no wrapping");
    assert_eq!(pages.bytes(AT, usize::MAX), None);
}

#[test]
fn a_renewal_reads_again_what_was_read_with_one_call() {
    let mut pages = pages(true);
    for page in [3, 4, 20, 30, 31] {
        pages.u8(page * AT).unwrap();
    }
    pages.want(50 * AT, 1);
    pages.fetch().unwrap();
    pages.keeps = false;
    pages.u8(60 * AT).unwrap();
    pages.keeps = true;
    for store in [None, Some(vec![255; 7]), Some(Vec::new())] {
        if let Some(store) = store {
            assert!(!pages.rest().is_empty());
            pages.work_in(store);
        }
        let calls = pages.calls;
        pages.renew().unwrap();
        assert_eq!(pages.calls, calls + 1);
        let read = [3, 4, 20, 30, 31].map(|page| pages.u8(page * AT));
        assert_eq!(read, [3, 4, 20, 30, 31].map(Some));
        assert_eq!(pages.calls, calls + 1, "all of that had been read");
    }
    let calls = pages.calls;
    assert_eq!((pages.u8(50 * AT), pages.u8(60 * AT)), (Some(50), Some(60)));
    assert_eq!(pages.calls, calls + 2, "one only wanted, one not kept");
}

#[test]
fn what_is_held_stays_until_it_is_renewed() {
    let mut pages = Pages::new(Box::new(Clock::default()), 10);
    assert_eq!((pages.u64(AT), pages.u64(AT + 640)), (Some(0), Some(0)));
    assert_eq!(pages.now::<8>(AT).unwrap(), 1_u64.to_ne_bytes());
    let mut sibling = pages.sibling();
    assert_eq!((sibling.u64(AT), pages.u64(AT)), (Some(2), Some(0)));
    pages.renew().unwrap();
    let read = [0, 640, 128].map(|at| pages.u64(AT + at).unwrap());
    assert_eq!(read, [3, 3, 4], "the last had not been read before");
    assert_eq!(
        pages.u64(AT + 64),
        Some(4),
        "what lies between came with it"
    );
    assert_eq!(pages.u64(AT + 4088), Some(5), "what lies behind did not");
    pages.clear();
    pages.renew().unwrap();
    assert_eq!(pages.u64(AT), Some(6), "nothing was to be read again");
}

#[test]
fn spots_are_read_before_and_after_a_renewal() {
    let mut pages = pages(true);
    for page in [3, 4, 20] {
        pages.u8(page * AT).unwrap();
    }
    let calls = pages.calls;
    let between = pages.renew_between::<4>(&[5 * AT, 3 * AT + 1]).unwrap();
    assert_eq!(pages.calls, calls + 1, "all with one call");
    let spots = vec![[5; 4], [3; 4]];
    let want = Between {
        before: spots.clone(),
        after: spots,
    };
    assert_eq!(between, Some(want));
    assert_eq!(pages.u8(20 * AT), Some(20));
    assert_eq!(pages.calls, calls + 1);
    let bad = pages.renew_between::<4>(&[5 * AT, 7 * AT]).unwrap();
    assert_eq!((bad, pages.u8(20 * AT)), (None, Some(20)));
}

#[test]
fn no_more_pages_are_held_than_allowed() {
    let mut pages = Pages::new(Box::new(Numbers { splits: true }), 3);
    let read: Vec<_> = [1, 2, 3, 4].map(|page| pages.u8(page * AT)).to_vec();
    assert_eq!(read, [Some(1), Some(2), Some(3), None]);
}

#[test]
fn a_live_process_is_read_and_a_dead_one_is_an_error() {
    let words: Vec<u64> = (0..2000).collect();
    let addr = words.as_ptr().addr() as u64;
    let mut own = Pages::of_process(std::process::id());
    assert_eq!(own.u64(addr + 8 * 1999), Some(1999));
    assert_eq!(own.u64(addr + 8 * 17), Some(17));
    assert_eq!(own.u64(8), None);
    assert!(own.failure().is_none(), "an unmapped page is no failure");
    assert_eq!(own.now::<8>(addr + 8).unwrap(), 1_u64.to_ne_bytes());
    assert!(own.now::<8>(8).is_err());
    let mut gone = Pages::of_process(u32::MAX);
    assert_eq!(gone.u64(addr), None);
    assert_eq!(
        gone.failure().and_then(|e| e.raw_os_error()),
        Some(libc::ESRCH)
    );
}

#[test]
fn what_has_changed_since_is_told_and_nothing_held_changes() {
    let mut still = pages(true);
    for page in [3, 4, 20] {
        still.u8(page * AT).unwrap();
    }
    let calls = still.calls;
    let changes = still
        .changes(&[(3 * AT, 5000), (20 * AT, 8), (50 * AT, 8)])
        .unwrap();
    assert_eq!(still.calls, calls + 1, "all with one call");
    assert!(!changes.touch(3 * AT, 5000) && !changes.touch(50 * AT, 8));

    let mut moving = Pages::new(Box::new(Clock::default()), 10);
    assert_eq!((moving.u64(AT), moving.u64(5 * AT)), (Some(0), Some(1)));
    let changes = moving.changes(&[(AT + 100, 8), (3 * AT, 8)]).unwrap();
    assert!(changes.touch(AT + 64, 1) && changes.touch(AT + 127, 8));
    assert!(!changes.touch(AT + 128, 8), "nobody asked for it");
    assert!(!changes.touch(3 * AT, 8), "it was not held");
    assert_eq!(moving.u64(AT + 104), Some(0));
}

#[test]
fn what_was_read_in_the_last_snapshot_is_renewed() {
    let mut pages = pages(false);
    let (read, unread) = (3 * AT + 128, 3 * AT + 1024);
    assert!(!pages.is_renewed(read, 200), "nothing is known yet");
    assert_eq!(pages.u64(read), Some(0x0303_0303_0303_0303));
    assert!(!pages.is_renewed(read, 200), "it was read in this snapshot");
    pages.renew().unwrap();
    assert!(pages.is_renewed(read, 200) && !pages.is_renewed(unread, 200));
    assert!(
        !pages.is_renewed(read + 32, 200),
        "its head goes into a block that was not read"
    );
    assert!(!pages.is_renewed(7 * AT, 8), "what cannot be read");
    // What is not read in a snapshot is not renewed by the next.
    pages.renew().unwrap();
    assert!(!pages.is_renewed(read, 200));
}

#[test]
fn pages_that_share_a_place_among_the_recent_ones_are_told_apart() {
    let mut pages = pages(false);
    for page in [1, 65, 1, 2, 66, 65] {
        assert_eq!(pages.u8(page * AT), Some(page as u8));
    }
}
