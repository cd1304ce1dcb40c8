//! Reading result lines.

use serde_json::Value;

/// Lines as JSON.
///
/// # Panics
/// If one is not.
pub fn parse(lines: &[String]) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
    lines.iter().map(parse).collect()
}

/// Lines without what may differ between two runs.
///
/// # Panics
/// If one is not a JSON object.
pub fn without_clock(lines: &[String]) -> Vec<String> {
    let strip = |mut line: Value| {
        // Shifting keeps the order of the other keys, which is compared, too.
        line.as_object_mut().expect("a line is an object").shift_remove("clock");
        line.to_string()
    };
    parse(lines).into_iter().map(strip).collect()
}

/// The lines of type `kind`.
pub fn of_type(lines: &[String], kind: &str) -> Vec<Value> {
    parse(lines).into_iter().filter(|line| line["type"] == kind).collect()
}

/// Every frame that has a result or lies in a gap, in the order of the lines.
pub fn accounted(lines: &[String]) -> Vec<u64> {
    let frames = |line: &Value| match line["type"].as_str() {
        Some("result") => line["frame"].as_u64().into_iter().collect(),
        Some("gap") => {
            let bound = |key: &str| line[key].as_u64().expect("a gap has bounds");
            (bound("from")..=bound("to")).collect()
        }
        _ => Vec::new(),
    };
    parse(lines).iter().flat_map(frames).collect()
}

/// Checks that two runs said the same, and shows the first difference if not.
///
/// # Panics
/// If they differ.
pub fn assert_same(what: &str, expected: &[String], actual: &[String]) {
    let (expected, actual) = (without_clock(expected), without_clock(actual));
    for (number, (expected, actual)) in expected.iter().zip(&actual).enumerate() {
        assert_eq!(expected, actual, "{what}: line {number} differs");
    }
    assert_eq!(expected.len(), actual.len(), "{what}: the number of lines differs");
}
