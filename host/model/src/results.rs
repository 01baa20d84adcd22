//! How much of what a run's nodes have come to is kept in history.
//!
//! A call's output and log are bounded one by one; this bounds their sum over all nodes of a run that succeeded. Dead
//! letters are not its subject: they are replayed, so they are kept whole.

use serde_json::value::RawValue;

use crate::run::{LogLine, NodeResult};

/// Node results of one run that succeeded, as JSON, in bytes. 4 MiB: four outputs of the largest size, more than anyone
/// reads, and few enough that a commit of hundreds of runs stays a commit.
pub const RESULTS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The key of the marker that stands in history where an output was left out: `{"omitted-output-bytes": 1048576}`.
pub const OMITTED_KEY: &str = "omitted-output-bytes";

/// The results as JSON, in at most `bytes_max` as far as outputs and logs can give room: the largest outputs are replaced
/// by a marker with their size first; if that is not enough, the longest logs by a line that says so.
pub fn to_bounded_json(results: &[&NodeResult], bytes_max: usize) -> Vec<u8> {
    let whole = to_json(results);
    if whole.len() <= bytes_max {
        return whole;
    }
    let mut kept: Vec<NodeResult> = results.iter().map(|result| (*result).clone()).collect();
    let excess = whole.len() - bytes_max;
    let left = omit_outputs(&mut kept, excess);
    if left > 0 {
        omit_logs(&mut kept, left);
    }
    to_json(&kept.iter().collect::<Vec<_>>())
}

/// The results as JSON, whole.
pub fn to_json(results: &[&NodeResult]) -> Vec<u8> {
    serde_json::to_vec(results).expect("node results are plain data with text keys")
}

/// Replaces the largest outputs until so many bytes are gone; returns how many are still too many.
fn omit_outputs(results: &mut [NodeResult], mut excess: usize) -> usize {
    let mut sizes: Vec<(usize, usize, String)> = Vec::new();
    for (node, result) in results.iter().enumerate() {
        sizes.extend(result.outputs.iter().map(|(port, json)| (json.get().len(), node, port.clone())));
    }
    sizes.sort_unstable_by(|one, other| other.cmp(one));
    for (size, node, port) in sizes {
        let marker = format!("{{\"{OMITTED_KEY}\":{size}}}");
        if excess == 0 || size <= marker.len() {
            break;
        }
        excess = excess.saturating_sub(size - marker.len());
        let marker = RawValue::from_string(marker).expect("a number in braces is JSON");
        results[node].outputs.insert(port, marker);
    }
    excess
}

/// Replaces the longest logs until so many bytes are gone.
fn omit_logs(results: &mut [NodeResult], mut excess: usize) {
    let size = |log: &Vec<LogLine>| serde_json::to_vec(log).map_or(0, |json| json.len());
    // Those of single elements of a node as well.
    let mut logs: Vec<&mut Vec<LogLine>> = results
        .iter_mut()
        .flat_map(|result| std::iter::once(&mut result.log).chain(result.elements.iter_mut().map(|one| &mut one.log)))
        .collect();
    logs.sort_by_cached_key(|log| std::cmp::Reverse(size(log)));
    for log in logs {
        let bytes = size(log);
        let remark = vec![LogLine {
            at_ms: 0,
            level: "warn".into(),
            context: "trellis".to_owned(),
            message: format!("a log of {bytes} bytes was not kept: the run's results were too large"),
        }];
        let remark_bytes = size(&remark);
        if excess == 0 || bytes <= remark_bytes {
            return;
        }
        excess = excess.saturating_sub(bytes - remark_bytes);
        *log = remark;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{NodeState, Outputs};

    fn result(node: &str, output: usize, log: usize) -> NodeResult {
        let json = RawValue::from_string(format!("\"{}\"", "x".repeat(output))).expect("a string");
        let line = LogLine { at_ms: 1, level: "info".into(), context: String::new(), message: "y".repeat(log) };
        NodeResult {
            attempts: 1,
            outputs: Outputs::from([("out".to_owned(), json)]),
            log: vec![line],
            ..NodeResult::new(node, NodeState::Succeeded)
        }
    }

    fn kept(results: &[NodeResult], bytes_max: usize) -> Vec<NodeResult> {
        let json = to_bounded_json(&results.iter().collect::<Vec<_>>(), bytes_max);
        assert!(json.len() <= bytes_max, "{} bytes", json.len());
        serde_json::from_slice(&json).expect("it is what history holds")
    }

    #[test]
    fn what_fits_is_kept_as_it_is() {
        let results = [result("a", 500, 100), result("b", 700, 100)];
        let kept = kept(&results, 4_000);
        assert_eq!(kept[0].outputs["out"].get(), results[0].outputs["out"].get());
        assert_eq!((kept[1].outputs["out"].get().len(), kept[1].log.len()), (702, 1));
    }

    #[test]
    fn the_largest_outputs_go_first_and_leave_their_size() {
        let results = [result("a", 500, 100), result("b", 9_000, 100), result("c", 2_000, 100)];
        let kept = kept(&results, 5_000);
        assert_eq!(kept[1].outputs["out"].get(), "{\"omitted-output-bytes\":9002}");
        assert_eq!((kept[0].outputs["out"].get().len(), kept[2].outputs["out"].get().len()), (502, 2_002));
        assert_eq!(kept[1].log[0].message.len(), 100, "logs stay while outputs give room");
    }

    #[test]
    fn logs_go_when_no_output_is_left() {
        let results = [result("a", 1, 3_000), result("b", 1, 100)];
        let kept = kept(&results, 2_000);
        assert!(kept[0].log[0].message.contains("was not kept"), "{}", kept[0].log[0].message);
        assert_eq!(kept[1].log[0].message.len(), 100);
    }
}
