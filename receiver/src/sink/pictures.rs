//! Pictures on disk: every Nth one as a PNG, for people who want to see what was analysed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cv_core::{picture::Picture, rgb::Rgb, session_id::SessionId};

/// Where and how often pictures are stored.
#[derive(Clone, Debug)]
pub struct Pictures {
    folder: PathBuf,
    every: u64,
}

impl Pictures {
    /// Stores frame 0, `every`, 2 x `every` … under `folder`, a folder a session.
    pub fn new(folder: PathBuf, every: u64) -> Self {
        Self { folder, every: every.max(1) }
    }

    /// Stores `picture` if its number is due. A full disk costs the picture and a warning, never the stream.
    pub fn offer(&self, session: &SessionId, frame: u64, picture: &Picture) {
        if !frame.is_multiple_of(self.every) {
            return;
        }
        // "." and ".." are session ids, too.
        let folder = self.folder.join(format!("{session}.pictures"));
        if let Err(error) = store(&folder, frame, picture) {
            tracing::warn!(folder = %folder.display(), frame, error, "cannot store a picture");
        }
    }
}

fn store(folder: &Path, frame: u64, picture: &Picture) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let size = picture.size();
    let image = image::RgbImage::from_raw(size.width(), size.height(), Rgb::of(picture).into_samples())
        .expect("three samples a pixel");
    // A reader of the folder never meets half a picture.
    let (partial, whole) = (folder.join(format!(".{frame:08}.png")), folder.join(format!("{frame:08}.png")));
    image.save_with_format(&partial, image::ImageFormat::Png).map_err(|error| error.to_string())?;
    fs::rename(&partial, &whole).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cv_core::{
        geometry::Size,
        picture::{Pool, Range},
    };

    #[test]
    fn every_nth_picture_is_stored_whole() {
        let folder = tempfile::tempdir().unwrap();
        let pictures = Pictures::new(folder.path().into(), 5);
        let session: SessionId = "..".parse().unwrap();
        let picture = Pool::default().picture(Size::new(7, 5).unwrap(), Range::Full).freeze();
        for frame in 0..11 {
            pictures.offer(&session, frame, &picture);
        }
        let mut names: Vec<_> =
            fs::read_dir(folder.path().join("...pictures")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["00000000.png", "00000005.png", "00000010.png"]);
    }
}
