use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Parameters, build};

fn fold_with(parameters: &[&str]) -> Box<dyn super::Fold> {
    let mut all = Parameters::default();
    parameters.iter().for_each(|text| all.add(text).unwrap());
    build(&all).unwrap()
}

/// A finding of `detect` with persons at the given left edges, with scores.
fn persons(at: &[(f64, f64)]) -> super::Features {
    let objects: Vec<Value> = at
        .iter()
        .map(|(left, score)| json!({"label": "person", "score": score, "box": [left, 40.0, 60.0, 200.0]}))
        .collect();
    json!({"objects": objects, "size": [640, 360]}).into()
}

/// The numbers and left edges in a finding.
fn numbers(finding: &Value) -> Vec<(u64, f64)> {
    let objects = finding["objects"].as_array().unwrap().iter();
    objects.map(|object| (object["id"].as_u64().unwrap(), object["box"][0].as_f64().unwrap())).collect()
}

fn events(finding: &Value) -> Vec<(String, u64)> {
    let events = finding.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
    events.iter().map(|event| (event["event"].as_str().unwrap().to_owned(), event["id"].as_u64().unwrap())).collect()
}

fn event(name: &str, id: u64) -> (String, u64) {
    (name.to_owned(), id)
}

#[test]
fn two_that_walk_past_each_other_keep_their_numbers() {
    for fps in [8.0, 15.0, 30.0, 60.0] {
        let mut fold = fold_with(&[]);
        let mut finding = Value::Null;
        for picture in 0..(4.0 * fps) as u32 {
            let time = f64::from(picture) / fps;
            let (right, left) = (20.0 + 120.0 * time, 500.0 - 120.0 * time);
            // While they stand behind each other the detector sees one of them.
            let at = if (right - left).abs() < 15.0 { vec![(right, 0.9)] } else { vec![(right, 0.9), (left, 0.8)] };
            finding = fold.fold(time, &persons(&at)).unwrap();
        }
        let at = numbers(&finding);
        assert_eq!((at.len(), at[0].0, at[1].0), (2, 1, 2), "{fps}: {finding}");
        assert!(at[0].1 > at[1].1, "{fps}: {finding}");
        assert_eq!(fold.finish().unwrap().unwrap()["count"], 2);
    }
}

#[test]
fn an_object_is_new_lost_found_and_left() {
    let mut fold = fold_with(&["keep=1"]);
    assert_eq!(events(&fold.fold(0.0, &persons(&[])).unwrap()), []);
    let mut told = Vec::new();
    for picture in 1..40 {
        let seen = picture < 10 || (13..20).contains(&picture);
        let finding = fold.fold(f64::from(picture) / 10.0, &persons(if seen { &[(100.0, 0.9)] } else { &[] })).unwrap();
        assert_eq!(numbers(&finding).len(), usize::from(seen && picture >= 3), "{picture}");
        told.extend(events(&finding).into_iter().map(|event| (picture, event)));
    }
    assert_eq!(
        told,
        [
            (3, event("new", 1)),
            (10, event("lost", 1)),
            (13, event("found", 1)),
            (20, event("lost", 1)),
            (30, event("left", 1))
        ]
    );
    let life = json!({"id": 1, "label": "person", "first": 0.1, "last": 1.9, "pictures": 16});
    assert_eq!(fold.finish().unwrap().unwrap(), json!({"count": 1, "objects": [life]}));
}

#[test]
fn who_comes_back_later_is_somebody_else() {
    let mut fold = fold_with(&[]);
    for time in [0.0, 0.1, 0.2, 5.0, 5.1, 5.2, 5.3] {
        fold.fold(time, &persons(&[(100.0, 0.9)])).unwrap();
    }
    let objects = fold.finish().unwrap().unwrap()["objects"].clone();
    assert_eq!(objects[0]["last"], 0.2);
    assert_eq!((&objects[1]["id"], &objects[1]["first"]), (&json!(2), &json!(5.0)));
}

#[test]
fn doubtful_sightings_carry_on_what_is_known_and_begin_nothing() {
    let mut fold = fold_with(&[]);
    for picture in 0..30 {
        let known = if picture < 3 { 0.8 } else { 0.15 };
        let finding = fold.fold(f64::from(picture) / 30.0, &persons(&[(100.0, known), (400.0, 0.45)])).unwrap();
        assert_eq!(numbers(&finding), [(1, 100.0)]);
    }
}

#[test]
fn the_most_are_those_that_were_seen_longest_and_most_clearly() {
    let mut fold = fold_with(&["most=2", "high=0.3", "start=0.3"]);
    let mut finding = Value::Null;
    let mut told = Vec::new();
    for picture in 0..30 {
        // A thing that is there from the start, doubtful and not always; two persons, one of whom comes later.
        let mut at = vec![(300.0, 0.8)];
        at.extend((picture % 3 > 0 || picture == 0).then_some((100.0, 0.4)));
        at.extend((picture > 4).then_some((500.0, 0.8)));
        finding = fold.fold(f64::from(picture) / 30.0, &persons(&at)).unwrap();
        assert!(numbers(&finding).len() <= 2);
        told.extend(events(&finding).into_iter().filter(|(name, _)| name == "left" || name == "new"));
    }
    assert_eq!(numbers(&finding), [(2, 300.0), (3, 500.0)]);
    assert_eq!(told, [event("new", 1), event("new", 2), event("left", 1), event("new", 3)]);
}

#[test]
fn labels_are_never_mixed_and_one_may_be_chosen() {
    let finding = |time: f64| {
        let label = if time < 1.0 { "dog" } else { "cat" };
        json!({"objects": [{"label": label, "score": 0.9, "box": [10, 10, 50, 50]}]}).into()
    };
    let (mut all, mut dogs) = (fold_with(&[]), fold_with(&["label=dog"]));
    for picture in 0..20 {
        let time = f64::from(picture) / 10.0;
        all.fold(time, &finding(time)).unwrap();
        dogs.fold(time, &finding(time)).unwrap();
    }
    assert_eq!(all.finish().unwrap().unwrap()["count"], 2);
    assert_eq!(dogs.finish().unwrap().unwrap()["count"], 1);
}

#[test]
fn people_of_pose_bring_their_points_along() {
    let mut fold = fold_with(&[]);
    let features = json!({"people": [{"score": 0.99, "box": [1, 2, 30, 40], "points": [[1, 2, 0.5]]}]}).into();
    let finding = fold.fold(0.0, &features).unwrap();
    let object =
        json!({"id": 1, "label": "person", "score": 0.99, "box": [1.0, 2.0, 30.0, 40.0], "points": [[1, 2, 0.5]]});
    assert_eq!(finding["objects"], json!([object]));
    assert_eq!(fold.state()["objects"][0]["seen"], true);
}

#[test]
fn times_that_repeat_or_jump_back_a_little_change_nothing_and_a_source_that_starts_over_starts_over() {
    let mut fold = fold_with(&[]);
    for time in [10.0, 10.0, 9.9, f64::NAN, 10.1, f64::INFINITY] {
        let finding = fold.fold(time, &persons(&[(100.0, 0.9)])).unwrap();
        assert_eq!(numbers(&finding), [(1, 100.0)], "{time}");
    }
    let mut fold = fold_with(&[]);
    fold.fold(10.0, &persons(&[(100.0, 0.9)])).unwrap();
    let finding = fold.fold(0.0, &persons(&[(100.0, 0.9)])).unwrap();
    assert_eq!(events(&finding), [event("left", 1), event("new", 2)]);
}

#[test]
fn what_is_remembered_of_those_that_left_is_bounded() {
    let mut fold = fold_with(&["keep=0.1", "confirm=1"]);
    for picture in 0..1200 {
        fold.fold(f64::from(picture), &persons(&[(100.0, 0.9)])).unwrap();
    }
    let last = fold.finish().unwrap().unwrap();
    assert_eq!((&last["count"], last["objects"].as_array().unwrap().len()), (&json!(1200), 1001));
    assert_eq!(last["objects"][1000]["id"], 1200);
}

#[test]
fn wrong_parameters_and_findings_are_refused() {
    let refused = |text: &str| {
        let mut parameters = Parameters::default();
        parameters.add(text).unwrap();
        build(&parameters).err().unwrap()
    };
    assert_eq!(refused("high=2"), "high=2 is not a number from 0 to 1");
    assert_eq!(refused("most=0"), "most=0 is not a number from 1 to 256");
    assert!(fold_with(&[]).fold(0.0, &json!([1]).into()).is_err());
    assert!(fold_with(&[]).fold(0.0, &super::Features::Bytes(bytes::Bytes::new())).is_err());
}

proptest! {
    #[test]
    fn no_times_and_no_boxes_break_it_and_numbers_are_never_used_twice(
        pictures in prop::collection::vec(
            (any::<f64>(), prop::collection::vec((any::<f64>(), -50..800i32, -1..60i32, 0..11u8), 0..6)), 1..40),
    ) {
        let mut fold = fold_with(&["confirm=1", "keep=0.5"]);
        let mut left = Vec::new();
        for (index, (time, boxes)) in pictures.into_iter().enumerate() {
            let objects: Vec<Value> = boxes
                .into_iter()
                .flat_map(|(wild, at, size, score)| {
                    let score = f64::from(score) / 10.0;
                    [json!({"score": score, "box": [at, at, size, size]}), json!({"score": score, "box": [wild, at, size, 9]})]
                })
                .filter(|object| object["box"][0].is_number())
                .collect();
            for time in [time, index as f64 / 10.0] {
                let finding = fold.fold(time, &json!({"objects": objects}).into()).unwrap();
                prop_assert!(numbers(&finding).iter().all(|(id, _)| !left.contains(id)));
                left.extend(events(&finding).into_iter().filter(|(name, _)| name == "left").map(|(_, id)| id));
            }
        }
        fold.finish();
    }
}
