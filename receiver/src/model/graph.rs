//! ONNX files before they are loaded (the protocol buffers of onnx.proto3, `ModelProto` and `GraphProto`).
//!
//! Old exporters list every weight among the graph's inputs, too, as if a caller might replace it. ONNX Runtime then
//! folds nothing into anything, which costs three times the time, so those inputs are taken out.

use std::{collections::BTreeSet, ops::Range};

/// Field numbers of onnx.proto3.
mod field {
    pub(super) const MODEL_GRAPH: u64 = 7;
    pub(super) const GRAPH_INITIALIZER: u64 = 5;
    pub(super) const GRAPH_INPUT: u64 = 11;
    pub(super) const TENSOR_NAME: u64 = 8;
    pub(super) const TENSOR_LOCATION: u64 = 14;
    pub(super) const VALUE_NAME: u64 = 1;
}

/// `model` without those inputs that have a value already; `None` if there are none, or this is no ONNX file.
pub fn without_weights_as_inputs(model: &[u8]) -> Option<Vec<u8>> {
    let found = fields(model).find_map(|field| Some((field.message(field::MODEL_GRAPH)?, field.place)));
    let (graph, place) = found?;
    // What is damaged stays as it is, so that ONNX Runtime may say so.
    fields(graph).last().filter(|field| field.place.end == graph.len())?;
    let initializers = fields(graph).filter_map(|field| field.message(field::GRAPH_INITIALIZER)).collect::<Vec<_>>();
    let initializers = initializers.into_iter();
    // Those that lie in a file beside it are found from its own place only.
    if initializers.clone().any(|tensor| fields(tensor).any(|field| field.number == field::TENSOR_LOCATION)) {
        return None;
    }
    let weights: BTreeSet<&[u8]> = initializers.filter_map(|tensor| first(tensor, field::TENSOR_NAME)).collect();
    let is_weight = |field: &Field<'_>| {
        let value = field.message(field::GRAPH_INPUT).and_then(|value| first(value, field::VALUE_NAME));
        value.is_some_and(|name| weights.contains(name))
    };
    let mut kept = Vec::with_capacity(graph.len());
    for field in fields(graph).filter(|field| !is_weight(field)) {
        kept.extend_from_slice(&graph[field.place]);
    }
    if kept.len() == graph.len() {
        return None;
    }
    let mut rewritten = Vec::with_capacity(model.len());
    rewritten.extend_from_slice(&model[..place.start]);
    put_varint(&mut rewritten, field::MODEL_GRAPH << 3 | LENGTH_DELIMITED);
    put_varint(&mut rewritten, kept.len() as u64);
    rewritten.extend_from_slice(&kept);
    rewritten.extend_from_slice(&model[place.end..]);
    Some(rewritten)
}

const LENGTH_DELIMITED: u64 = 2;

/// One field of a message.
struct Field<'a> {
    number: u64,
    /// Where it stands in its message, key and all.
    place: Range<usize>,
    /// Its bytes, if it has a length.
    bytes: Option<&'a [u8]>,
}

impl<'a> Field<'a> {
    /// Its bytes, if it is the one with this number.
    fn message(&self, number: u64) -> Option<&'a [u8]> {
        self.bytes.filter(|_| self.number == number)
    }
}

/// The fields of a message, up to the first byte that makes no sense.
fn fields(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let field = field(message, at)?;
        at = field.place.end;
        Some(field)
    })
}

/// The first field of this number.
fn first(message: &[u8], number: u64) -> Option<&[u8]> {
    fields(message).find_map(|field| field.message(number))
}

fn field(message: &[u8], start: usize) -> Option<Field<'_>> {
    let (key, mut at) = varint(message, start)?;
    let mut bytes = None;
    match key & 7 {
        0 => at = varint(message, at)?.1,
        1 => at += 8,
        LENGTH_DELIMITED => {
            let (length, begin) = varint(message, at)?;
            at = begin.checked_add(usize::try_from(length).ok()?)?;
            bytes = Some(message.get(begin..at)?);
        }
        5 => at += 4,
        _ => return None,
    }
    (at <= message.len()).then_some(Field { number: key >> 3, place: start..at, bytes })
}

/// A number of seven bits a byte, and where it ends.
fn varint(bytes: &[u8], start: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.get(start..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * index as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, start + index + 1));
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(number: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, number << 3 | LENGTH_DELIMITED);
        put_varint(&mut bytes, content.len() as u64);
        bytes.extend_from_slice(content);
        bytes
    }

    fn model(inputs: &[&str]) -> Vec<u8> {
        let mut graph = message(2, b"graph");
        graph.extend(message(field::GRAPH_INITIALIZER, &message(field::TENSOR_NAME, b"weight")));
        for name in inputs {
            graph.extend(message(field::GRAPH_INPUT, &message(field::VALUE_NAME, name.as_bytes())));
        }
        // The version of the format before it, a producer behind it.
        [vec![1 << 3, 7], message(field::MODEL_GRAPH, &graph), message(2, &[b'x'; 300])].concat()
    }

    #[test]
    fn weights_are_taken_out_of_the_inputs() {
        assert_eq!(without_weights_as_inputs(&model(&["image", "weight"])), Some(model(&["image"])));
        assert_eq!(without_weights_as_inputs(&model(&["weight", "image"])), Some(model(&["image"])));
    }

    #[test]
    fn a_model_without_such_inputs_stays_as_it_is() {
        assert_eq!(without_weights_as_inputs(&model(&["image"])), None);
        assert_eq!(without_weights_as_inputs(b""), None);
        assert_eq!(without_weights_as_inputs(&[0xff; 64]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..80, byte: u8) {
            without_weights_as_inputs(&bytes);
            let mut damaged = model(&["weight", "image"]);
            let at = at % damaged.len();
            damaged[at] = byte;
            without_weights_as_inputs(&damaged);
        }
    }
}
