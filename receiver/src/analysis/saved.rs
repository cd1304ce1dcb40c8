//! Features as JSON and back, so that what was drawn from pictures can be folded again without them.
//!
//! Each is an object with one key: `json` with a value, `base64` with bytes, or `error` with the sentence that says
//! why there are none.

use base64::{Engine, prelude::BASE64_STANDARD};
use cv_core::report::Analysis;
use serde_json::{Map, Value, json};

use super::{Extracted, Features, Folding};

impl Folding {
    /// What was drawn from a picture, by analyzer.
    pub fn save(&self, extracted: &Extracted) -> Analysis {
        let saved = self.extracting().zip(extracted).map(|(name, features)| {
            let value = match features {
                Ok(Features::Json(value)) => json!({ "json": value }),
                Ok(Features::Bytes(bytes)) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
                Err(error) => json!({ "error": error }),
            };
            (name.to_owned(), value)
        });
        Analysis(saved.collect())
    }

    /// What [`Self::save`] wrote down, or a sentence for each analyzer of which there is nothing.
    pub fn restore(&self, saved: &Map<String, Value>) -> Extracted {
        let of = |name: &str| match saved.get(name) {
            Some(value) => restore(value).unwrap_or_else(|what| Err(format!("the saved features of {name} {what}"))),
            None => Err(format!("no features of {name} were saved, only of {}", names(saved))),
        };
        self.extracting().map(of).collect()
    }
}

fn names(saved: &Map<String, Value>) -> String {
    if saved.is_empty() { "nothing".into() } else { saved.keys().cloned().collect::<Vec<_>>().join(", ") }
}

/// One analyzer's features, or why there were none; fails where neither is written there.
fn restore(value: &Value) -> Result<Result<Features, String>, String> {
    match (value.get("json"), value.get("base64"), value.get("error")) {
        (Some(value), None, None) => Ok(Ok(value.clone().into())),
        (None, Some(Value::String(text)), None) => {
            let bytes = BASE64_STANDARD.decode(text).map_err(|error| format!("are not base64: {error}"))?;
            Ok(Ok(Features::Bytes(bytes.into())))
        }
        (None, None, Some(Value::String(error))) => Ok(Err(error.clone())),
        _ => Err("are neither json nor base64 nor an error".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Catalog;

    #[test]
    fn what_is_saved_comes_back() {
        let (_, folding) = Catalog::default().plan("stats,busy").unwrap().begin("s");
        let all: [Result<Features, String>; 3] =
            [Ok(json!({"error": [1.5, null]}).into()), Ok(Features::Bytes(vec![0, 255, 7].into())), Err("why".into())];
        for pair in [[0, 1], [1, 2], [2, 0]] {
            let extracted: Extracted = pair.iter().map(|index| all[*index].clone()).collect();
            let text = serde_json::to_string(&folding.save(&extracted)).unwrap();
            assert_eq!(folding.restore(&serde_json::from_str(&text).unwrap()), extracted);
        }
    }

    #[test]
    fn what_is_no_saved_feature_is_named() {
        let (_, folding) = Catalog::default().plan("stats").unwrap().begin("s");
        for (saved, reason) in [
            (json!({}), "no features of stats were saved, only of nothing"),
            (json!({"busy": {"json": 1}}), "only of busy"),
            (json!({"stats": 7}), "neither json nor base64"),
            (json!({"stats": {"json": 1, "error": "e"}}), "neither json nor base64"),
            (json!({"stats": {"base64": "%"}}), "not base64"),
        ] {
            let restored = folding.restore(saved.as_object().unwrap());
            assert!(restored[0].as_ref().unwrap_err().contains(reason), "{saved}");
        }
    }
}
