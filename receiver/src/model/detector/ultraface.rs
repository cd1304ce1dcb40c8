//! UltraFace ("Ultra-Light-Fast-Generic-Face-Detector-1MB", Linzaer 2019): faces.

use super::{Canvas, Decode, Network, Object, Outputs, fits, planes};
use crate::model::letterbox::Fit;

/// Corners of boxes, from 0 to 1 across the picture, and how likely each is background and face.
struct Ultraface {
    width: u32,
    height: u32,
}

pub(super) fn recognise(network: &Network, side: Option<i64>) -> Option<Box<dyn Decode>> {
    let (width, height) = planes(network, side.unwrap_or(320))?;
    let (scores, boxes) = (network.output("scores")?, network.output("boxes")?);
    (fits(&scores.shape, &[1, -1, 2]) && fits(&boxes.shape, &[1, -1, 4]))
        .then(|| Box::new(Ultraface { width, height }) as Box<dyn Decode>)
}

impl Decode for Ultraface {
    fn canvas(&self) -> Canvas {
        let Self { width, height } = *self;
        Canvas { width, height, is_bgr: false, normal: (127.0, 128.0), fit: Fit::Stretched }
    }

    fn outputs(&self) -> Vec<&str> {
        vec!["scores", "boxes"]
    }

    fn labels(&self) -> Vec<String> {
        vec!["face".into()]
    }

    fn defaults(&self) -> (f32, f32) {
        (0.7, 0.3)
    }

    fn decode(&self, outputs: &Outputs<'_>, threshold: f32) -> Result<Vec<Object>, String> {
        let ((_, scores), (shape, boxes)) = (outputs.floats("scores")?, outputs.floats("boxes")?);
        if scores.len() * 2 != boxes.len() {
            return Err(format!("the model gave boxes {shape:?} for {} scores", scores.len()));
        }
        let likely = scores.chunks_exact(2).map(|pair| pair[1]).zip(boxes.chunks_exact(4));
        let faces = likely.filter(|(score, _)| *score >= threshold).map(|(score, corners)| {
            let [left, right] = [corners[0], corners[2]].map(|x| x * self.width as f32);
            let [top, bottom] = [corners[1], corners[3]].map(|y| y * self.height as f32);
            Object { class: 0, score, rect: [left, top, right - left, bottom - top], points: Vec::new() }
        });
        Ok(faces.collect())
    }

    fn check(&self, outputs: &Outputs<'_>) -> Result<(), String> {
        let (_, boxes) = outputs.floats("boxes")?;
        // Every box has an extent. Offsets from prior boxes, which other files of this model give under the same
        // names and in the same shape, are as often negative as not.
        let real = boxes.chunks_exact(4).filter(|corners| corners[0] < corners[2] && corners[1] < corners[3]).count();
        if real * 4 * 10 < boxes.len() * 9 {
            let advice = "use the file that is neither 'simplified' nor 'without_postprocessing'";
            return Err(format!("the model gives offsets, not boxes: {advice}"));
        }
        Ok(())
    }
}
