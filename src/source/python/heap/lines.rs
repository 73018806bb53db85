//! Line tables: from the offset of an instruction to its line. Pure functions on the bytes that a compiler wrote.

/// The line at `offset` (bytes from the first instruction) by the line table of 3.`minor`; `None` if it has none for it.
pub fn line_of(minor: u32, table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    let line = match minor {
        0..=9 => by_lnotab(table, first_line, offset),
        10 => by_ranges(table, first_line, offset),
        _ => by_locations(table, first_line, offset),
    }?;
    u32::try_from(line).ok().filter(|line| *line > 0)
}

/// `co_lnotab` (Objects/lnotab_notes.txt): pairs of an unsigned step in addresses and a signed one in lines.
fn by_lnotab(table: &[u8], first_line: u32, offset: u64) -> Option<i64> {
    let (mut addr, mut line) = (0_u64, i64::from(first_line));
    for [step, lines] in table.as_chunks::<2>().0 {
        addr += u64::from(*step);
        if addr > offset {
            break;
        }
        line += i64::from(lines.cast_signed());
    }
    Some(line)
}

/// PEP 626 (3.10): pairs of the length of a range and the step of its line; -128 for a range without one.
fn by_ranges(table: &[u8], first_line: u32, offset: u64) -> Option<i64> {
    let (mut end, mut line) = (0_u64, i64::from(first_line));
    for [length, step] in table.as_chunks::<2>().0 {
        let step = step.cast_signed();
        line += if step == -128 { 0 } else { i64::from(step) };
        end += u64::from(*length);
        if offset < end {
            return (step != -128).then_some(line);
        }
    }
    None
}

/// PEP 657 (3.11+, Objects/locations.md): entries of one byte with a code and a length in code units, then what the code asks for.
fn by_locations(table: &[u8], first_line: u32, offset: u64) -> Option<i64> {
    let (mut end, mut line) = (0_u64, i64::from(first_line));
    let mut bytes = table.iter().copied();
    while let Some(first) = bytes.next() {
        let code = (first >> 3) & 15;
        end += 2 * (u64::from(first & 7) + 1);
        let has_line = match code {
            0..=9 => {
                bytes.next()?;
                true
            }
            10..=12 => {
                line += i64::from(code) - 10;
                bytes.next()?;
                bytes.next()?;
                true
            }
            13 => {
                line += signed(&mut bytes)?;
                true
            }
            14 => {
                line += signed(&mut bytes)?;
                for _ in 0..3 {
                    unsigned(&mut bytes)?;
                }
                true
            }
            _ => false,
        };
        if offset < end {
            return has_line.then_some(line);
        }
    }
    None
}

/// Six bits a byte, lowest first; bit 6 says that more come.
fn unsigned(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..60).step_by(6) {
        let byte = bytes.next()?;
        value |= u64::from(byte & 63) << shift;
        if byte & 64 == 0 {
            return Some(value);
        }
    }
    None
}

/// The sign is the lowest bit.
fn signed(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let value = unsigned(bytes)?;
    let magnitude = (value >> 1).cast_signed();
    Some(if value & 1 == 1 {
        -magnitude
    } else {
        magnitude
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (u32, &'static [u8], &'static [(u64, Option<u32>)]);

    /// Version, table, and lines by offset.
    const CASES: &[Case] = &[
        (
            8,
            &[0, 1, 4, 2, 2, 1, 2, 255],
            &[
                (0, Some(11)),
                (2, Some(11)),
                (4, Some(13)),
                (6, Some(14)),
                (8, Some(13)),
                (10, Some(13)),
            ],
        ),
        (
            10,
            &[4, 1, 2, 2, 2, 1, 4, 255],
            &[
                (0, Some(11)),
                (2, Some(11)),
                (4, Some(13)),
                (6, Some(14)),
                (8, Some(13)),
                (10, Some(13)),
            ],
        ),
        (
            11,
            &[
                128, 0, 216, 8, 9, 128, 65, 229, 11, 12, 216, 8, 9, 241, 3, 1, 12, 11, 244, 0, 1,
                12, 11, 240, 0, 1, 5, 11,
            ],
            &[
                (0, Some(10)),
                (2, Some(11)),
                (4, Some(11)),
                (6, Some(13)),
                (8, Some(13)),
                (10, Some(13)),
                (12, Some(13)),
                (14, Some(13)),
                (16, Some(13)),
                (18, Some(14)),
                (20, Some(13)),
                (22, Some(13)),
                (24, Some(13)),
                (26, Some(13)),
                (28, Some(13)),
                (30, Some(13)),
                (32, Some(13)),
                (34, Some(13)),
            ],
        ),
        (
            13,
            &[
                128, 0, 216, 8, 9, 128, 65, 228, 11, 12, 216, 8, 9, 243, 3, 1, 12, 11, 240, 0, 1,
                5, 11,
            ],
            &[
                (0, Some(10)),
                (2, Some(11)),
                (4, Some(11)),
                (6, Some(13)),
                (8, Some(13)),
                (10, Some(13)),
                (12, Some(13)),
                (14, Some(13)),
                (16, Some(14)),
                (18, Some(13)),
                (20, Some(13)),
                (22, Some(13)),
                (24, Some(13)),
                (26, Some(13)),
            ],
        ),
        (
            15,
            &[
                129, 0, 216, 8, 9, 128, 65, 228, 11, 12, 216, 8, 9, 243, 3, 1, 12, 11, 240, 0, 1,
                5, 11,
            ],
            &[
                (0, Some(10)),
                (2, Some(10)),
                (4, Some(11)),
                (6, Some(11)),
                (8, Some(13)),
                (10, Some(13)),
                (12, Some(13)),
                (14, Some(13)),
                (16, Some(13)),
                (18, Some(14)),
                (20, Some(13)),
                (22, Some(13)),
                (24, Some(13)),
                (26, Some(13)),
                (28, Some(13)),
            ],
        ),
    ];

    /// Tables that CPython wrote for `def f():⏎ x = 1⏎⏎ return g(⏎ x)⏎` at line 10, and what `dis` says of them.
    #[test]
    fn tables_of_real_compilers() {
        for (minor, table, lines) in CASES {
            for (offset, line) in *lines {
                assert_eq!(
                    line_of(*minor, table, 10, *offset),
                    *line,
                    "3.{minor} at {offset}"
                );
            }
        }
    }

    #[test]
    fn no_table_makes_it_panic_or_hang() {
        let mut seed = 1_u64;
        for length in 0..400_usize {
            let noise: Vec<u8> = (0..length)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 56) as u8
                })
                .collect();
            for minor in [8, 10, 15] {
                for offset in [0, 7, 5000, u64::MAX] {
                    let line = line_of(minor, &noise, u32::MAX, offset);
                    assert!(line != Some(0));
                }
            }
        }
    }
}
