//! Uploads by the ten thousand: a real component with its bytes changed, and components that a generator made up. Each is
//! accepted or refused with a fault; nothing panics, and nothing blames the host.

use std::time::{Duration, Instant};

use arbitrary::{Arbitrary as _, Unstructured};
use bytes::Bytes;
use trellis_engine::{CompileIn, Engine, EngineConfig, UploadError, UploadLimits, check};
use wasmparser::{Parser, Payload};

use crate::{hostile_components::harmless, support::keyvalue};

/// How many are wanted; a slow machine makes as many as it can in its time.
const MUTATIONS: u32 = 100_000;
const TIME_BOX: Duration = Duration::from_secs(20);
const CORE_MODULE: u8 = 1;

/// xorshift64, so that every run does alike.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a length")
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// Whether it is accepted; a refusal must say why.
fn checked(bytes: &[u8]) -> bool {
    match check(bytes, &UploadLimits::default()) {
        Ok(_) => true,
        Err(faults) => {
            assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.message.is_empty()), "{faults:?}");
            false
        }
    }
}

#[test]
fn a_hundred_thousand_mutations_of_a_component_are_all_answered() {
    let mut bytes = keyvalue().to_vec();
    let (mut dice, began) = (Dice(0x2545_f491_4f6c_dd1d), Instant::now());
    let (mut count, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    while count < MUTATIONS && began.elapsed() < TIME_BOX {
        // In place, and back again: most of the time is to go to the check. Its first sections say the most.
        let reach = if dice.below(2) == 0 { bytes.len() } else { 4_096 };
        let changes: Vec<(usize, u8)> = (0..=dice.below(4))
            .map(|_| {
                let at = dice.below(reach);
                let former = std::mem::replace(&mut bytes[at], dice.next().to_le_bytes()[5]);
                (at, former)
            })
            .collect();
        let end = if dice.below(8) == 0 { dice.below(bytes.len()) } else { bytes.len() };
        let asked = Instant::now();
        refused += u32::from(!checked(&bytes[..end]));
        slowest = slowest.max(asked.elapsed());
        for (at, former) in changes.into_iter().rev() {
            bytes[at] = former;
        }
        count += 1;
    }
    assert_eq!(bytes, keyvalue(), "every mutation was taken back");
    println!("{refused} of {count} mutations of {} bytes were refused; the slowest took {slowest:?}", bytes.len());
    assert!(refused > 0 && count > 1_000, "{refused} of {count}");
}

/// Where the sections of a component end, at all depths.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let payloads = Parser::new(0).parse_all(bytes).map(|payload| payload.expect("a valid component"));
    let ends = payloads.filter_map(|payload| match payload {
        Payload::Version { range, .. } => Some(range.end),
        Payload::End(offset) => Some(offset),
        other => other.as_section().map(|(_, range)| range.end),
    });
    ends.collect()
}

#[test]
fn a_component_cut_at_any_boundary_of_its_sections_is_refused_or_whole() {
    let whole = keyvalue();
    let boundaries = boundaries(&whole);
    assert!(boundaries.len() > 50, "{}", boundaries.len());
    let engine = wasmtime::Engine::default();
    for end in boundaries.into_iter().flat_map(|end| [end.saturating_sub(1), end, end + 1]) {
        let part = &whole[..end.min(whole.len())];
        if checked(part) {
            // Nothing but what means nothing is missing.
            wasmtime::component::Component::from_binary(&engine, part).expect("it is whole");
        }
    }
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// The harmless component, with one more core module in it.
fn with_module(module: &[u8]) -> Bytes {
    [&harmless()[..], &[CORE_MODULE], &leb128(module.len()), module].concat().into()
}

#[tokio::test]
async fn components_with_generated_modules_never_blame_the_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let config =
        EngineConfig { instances_max: 2, compile_in: CompileIn::ThisProcess, ..EngineConfig::new(folder.path()) };
    let engine = Engine::new(&config).expect("an engine");
    let (mut dice, began) = (Dice(0x9e37_79b9_7f4a_7c15), Instant::now());
    let (mut accepted, mut refused) = (0, 0);
    while began.elapsed() < TIME_BOX / 2 && accepted + refused < 500 {
        let seed = dice.bytes(2_048);
        let Ok(module) = wasm_smith::Module::arbitrary(&mut Unstructured::new(&seed)) else { continue };
        match engine.compile(with_module(&module.to_bytes())).await {
            Ok(_) => accepted += 1,
            Err(UploadError::Faults(_) | UploadError::Uncompilable(_)) => refused += 1,
            Err(error @ UploadError::Unavailable(_)) => panic!("{error}"),
        }
    }
    println!("of generated modules {accepted} were accepted and {refused} refused in {:?}", began.elapsed());
    assert!(accepted > 0 && refused > 0, "{accepted} and {refused}");
}

#[test]
fn generated_components_are_all_answered() {
    let (mut dice, began, mut count) = (Dice(0xd1b5_4a32_d192_ed03), Instant::now(), 0);
    while began.elapsed() < TIME_BOX / 2 && count < 20_000 {
        let seed = dice.bytes(1_024);
        let Ok(component) = wasm_smith::Component::arbitrary(&mut Unstructured::new(&seed)) else { continue };
        let mut bytes = component.to_bytes();
        checked(&bytes);
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
        checked(&bytes);
        count += 1;
    }
    println!("{count} generated components, each also with a bit flipped");
    assert!(count > 100, "{count}");
}
