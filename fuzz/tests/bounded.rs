//! Every target on stable Rust: its seeds, then a fixed number of mutations of them from a fixed seed. What libFuzzer finds
//! in hours is not found here in seconds; what a careless change breaks mostly is.

use std::path::Path;

use vestibule_fuzz::TARGETS;

/// Mutations for each target: all ten together take some seconds.
const RUNS: u64 = 100_000;

/// Longer inputs find nothing that shorter ones do not.
const LONGEST: usize = 2048;

/// Pieces that parsers treat in a special way.
const PIECES: [&[u8]; 46] = [
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b"\"",
    b"\\",
    b"'",
    b"=",
    b"==",
    b"&",
    b";",
    b",",
    b"%",
    b"%2e",
    b"%2F",
    b"%252e",
    b"%5c",
    b"%00",
    b"/",
    b"//",
    b"/../",
    b"/./",
    b"..;/",
    b"/.well-known/",
    b"@",
    b"#",
    b"?",
    b":",
    b"[::1]",
    b"127.0.0.1",
    b"localhost",
    b"http://",
    b"https://",
    b"javascript:",
    b"cursor://",
    b"Bearer ",
    b"scope=\"",
    b"for=",
    b"unknown",
    b"null",
    b"{}",
    b"[]",
    b"\xff",
    b"\xe2\x80\xae",
    b"AAAAAAAAAAAAAAAAAAAAAA",
];

#[test]
fn every_target_survives_its_seeds_and_their_neighbours() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        for seed in &seeds {
            target(seed);
        }
        // The name makes each target's sequence its own.
        let mut dice = Dice(name.bytes().fold(0x5eed, |sum: u64, byte| {
            sum.wrapping_mul(31) + u64::from(byte)
        }));
        for _ in 0..RUNS {
            let input = mutated(&seeds, &mut dice);
            // On failure the input is what a regression seed is made of.
            let outcome = std::panic::catch_unwind(|| target(&input));
            assert!(
                outcome.is_ok(),
                "{name} fails for {:?}",
                input.escape_ascii().to_string()
            );
        }
    }
}

#[test]
fn every_target_has_its_libfuzzer_binary() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let text = std::fs::read_to_string(root.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(
            text.contains(&format!("vestibule_fuzz::{name}(data)")),
            "{name}"
        );
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    // The order of a directory is nobody's promise.
    files.sort();
    assert!(!files.is_empty(), "{name} has no seeds");
    files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

fn mutated(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = dice.one_of(seeds).clone();
    for _ in 0..=dice.below(6) {
        let at = dice.below(input.len() + 1);
        let end = (at + dice.below(8)).min(input.len());
        match dice.below(7) {
            0 if at < input.len() => input[at] ^= 1 << dice.below(8),
            1 if at < input.len() => input[at] = u8::try_from(dice.below(256)).unwrap_or_default(),
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].to_vec();
                drop(input.splice(at..at, again));
            }
            4 => {
                // The head of this one, the tail of another.
                let other = dice.one_of(seeds).clone();
                let from = dice.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let piece = *dice.one_of(&PIECES);
                drop(input.splice(at..at, piece.iter().copied()));
            }
        }
    }
    input.truncate(LONGEST);
    input
}

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end).unwrap_or_default()
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
