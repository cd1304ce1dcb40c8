//! What a detector saw in one picture, out of its finding.

use serde_json::Value;

use crate::analysis::bounds::{Bounds, numbers};

/// Sightings of a picture that are looked at, the best: more is noise, and everything is compared with everything.
const MOST: usize = 256;

/// Pixels beyond which nothing lies: pictures are far smaller, and squares of it stay finite.
const FARTHEST: f64 = 1e6;

/// One thing seen in one picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sighting {
    /// What it is.
    pub(super) label: String,
    /// How certain that is, 0 to 1.
    pub(super) score: f64,
    /// Where it is.
    pub(super) bounds: Bounds,
    /// Its points as they were told, if there were any.
    pub(super) points: Option<Value>,
}

/// The sightings in a finding of `detect` or `pose`, those with `label` where one is given, best first.
pub(super) fn sightings(finding: &Value, label: Option<&str>) -> Result<Vec<Sighting>, String> {
    let (objects, usual) = match (finding.get("objects"), finding.get("people")) {
        (Some(Value::Array(objects)), _) => (objects, "object"),
        (None, Some(Value::Array(people))) => (people, "person"),
        _ => return Err("track needs objects or people; it follows detect or pose, as in detect,track".into()),
    };
    let mut seen = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        let sighting = sighting(object, usual).ok_or_else(|| {
            format!("{usual} {index} has no score and box of four numbers, which track needs of detect or pose")
        })?;
        if label.is_none_or(|label| label == sighting.label) && is_somewhere(&sighting) {
            seen.push(sighting);
        }
    }
    seen.sort_by(|one, other| other.score.total_cmp(&one.score));
    seen.truncate(MOST);
    Ok(seen)
}

fn sighting(object: &Value, usual: &str) -> Option<Sighting> {
    Some(Sighting {
        label: object.get("label").and_then(Value::as_str).unwrap_or(usual).to_owned(),
        score: object.get("score")?.as_f64()?,
        bounds: numbers(object.get("box")?)?,
        points: object.get("points").cloned(),
    })
}

fn is_somewhere(sighting: &Sighting) -> bool {
    let [_, _, width, height] = sighting.bounds;
    width > 0.0 && height > 0.0 && sighting.bounds.iter().all(|coordinate| coordinate.abs() <= FARTHEST)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_and_people_are_sightings() {
        let finding = json!({"size": [640, 360], "objects": [
            {"label": "dog", "score": 0.4, "box": [1, 2, 3, 4]},
            {"label": "cat", "score": 0.9, "box": [1.5, 2, 3, 4], "points": [[1, 2]]},
        ]});
        let seen = sightings(&finding, None).unwrap();
        assert_eq!((seen[0].label.as_str(), &seen[0].points), ("cat", &Some(json!([[1, 2]]))));
        assert_eq!(sightings(&finding, Some("dog")).unwrap(), seen[1..]);
        let finding = json!({"people": [{"score": 0.9, "box": [1, 2, 3, 4], "points": []}]});
        assert_eq!(sightings(&finding, Some("person")).unwrap()[0].bounds, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn what_is_nowhere_is_left_out() {
        let finding = json!({"objects": [
            {"score": 1, "box": [0, 0, 0, 5]}, {"score": 1, "box": [0, 0, 5, -5]}, {"score": 1, "box": [1e300, 0, 5, 5]},
        ]});
        assert_eq!(sightings(&finding, None).unwrap(), []);
    }

    #[test]
    fn what_is_no_finding_is_refused_in_one_sentence() {
        let refusal = |finding: Value| sightings(&finding, None).unwrap_err();
        assert!(refusal(json!({"people": {}})).contains("detect,track"));
        assert!(refusal(json!(7)).contains("detect,track"));
        for object in [json!({}), json!({"score": 1}), json!({"score": 1, "box": [1, 2, 3]}), json!(null)] {
            assert!(refusal(json!({"objects": [object]})).contains("object 0 has no score and box"));
        }
        assert!(refusal(json!({"objects": [{"score": 1, "box": [1, 2, 3, null]}]})).contains("object 0"));
    }
}
