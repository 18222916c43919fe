//! A folder of images with one subfolder a class, as torchvision's `ImageFolder` reads it.
//!
//! The classes are the names of the subfolders, sorted as texts; within each the images of all folders below it, sorted by
//! their paths. Files that are no images by their names, and names that begin with a point, do not count.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::super::error::DataError;
use super::super::table::{Cells, Interned, Numbers, Part, Table, Take, Want};
use super::{decode, described};
use crate::files::FileError;

/// How the names of images end; those that dpc does not read are told.
const ENDINGS: [&str; 10] = ["png", "jpg", "jpeg", "bmp", "gif", "pgm", "ppm", "tif", "tiff", "webp"];
/// The columns.
const IMAGE: usize = 0;
const LABEL: usize = 1;
/// Images that are described at a time.
const AT_A_TIME: usize = 1024;

/// A folder whose images have been listed.
pub struct ImageFolder {
    path: PathBuf,
    columns: [String; 2],
    classes: Vec<String>,
    files: Vec<PathBuf>,
    /// The class of each image.
    of: Vec<usize>,
}

/// Whether a folder has subfolders that may be classes.
pub fn holds_classes(path: &Path) -> bool {
    path.is_dir() && listed(path).is_ok_and(|found| found.iter().any(|path| path.is_dir()))
}

impl ImageFolder {
    /// Lists the images of `path`.
    ///
    /// # Errors
    /// Where a folder cannot be read, and, all at once, those of classes that hold no image.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let columns = ["image", "label"].map(str::to_owned);
        let mut folder = Self { path: path.to_owned(), columns, classes: vec![], files: vec![], of: vec![] };
        let mut empty = Vec::new();
        for class in listed(path)?.into_iter().filter(|path| path.is_dir()) {
            let name = class.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let before = folder.files.len();
            images_in(&class, &mut folder.files)?;
            if folder.files.len() == before {
                empty.push(name.clone());
            }
            folder.of.resize(folder.files.len(), folder.classes.len());
            folder.classes.push(name);
        }
        match empty.is_empty() {
            true => Ok(folder),
            false => Err(DataError::EmptyClasses { path: path.to_owned(), names: empty }),
        }
    }

    fn place(&self, record: usize) -> String {
        let file = &self.files[record];
        file.strip_prefix(&self.path).unwrap_or(file).display().to_string()
    }

    fn cells(&self, column: usize, want: Want<'_>) -> Result<Cells, DataError> {
        Ok(match (column, want) {
            (IMAGE, Want::Pixels(form)) => Cells::new(form.dims(), Numbers::Bytes(vec![])),
            (_, Want::Texts) | (LABEL, Want::Labels) => Cells::new(vec![], Numbers::Texts(Interned::default())),
            _ => {
                let (array, dtype) = (self.columns[column].clone(), self.type_of(column));
                return Err(DataError::UnsupportedDtype { path: self.path.clone(), array, dtype });
            }
        })
    }

    /// Adds images `from..to` to the cells.
    fn push(&self, from: usize, to: usize, column: usize, want: Want<'_>, cells: &mut Cells) {
        let files = &self.files[from..to];
        let bytes = |path: &PathBuf| fs::read(path).map_err(|error| format!("cannot be read: {error}"));
        match (&mut cells.values, want) {
            (Numbers::Bytes(values), Want::Pixels(form)) => {
                let decoded: Vec<_> =
                    files.par_iter().map(|path| bytes(path).and_then(|bytes| decode(&bytes, &form))).collect();
                for (at, image) in decoded.into_iter().enumerate() {
                    match image {
                        Ok(image) => values.extend_from_slice(&image),
                        Err(what) => {
                            values.resize(values.len() + form.bytes(), 0);
                            cells.bad.add(format_args!("{} {what}", self.place(from + at)));
                        }
                    }
                }
            }
            (Numbers::Texts(texts), _) if column == IMAGE => {
                let of = |path| bytes(path).map_or_else(|what| what, |bytes| described(&bytes));
                let all: Vec<String> = files.par_iter().map(of).collect();
                all.iter().for_each(|text| texts.push(text));
            }
            (Numbers::Texts(texts), _) => self.of[from..to].iter().for_each(|&class| texts.push(&self.classes[class])),
            _ => unreachable!("cells are of the kind that was wanted"),
        }
    }
}

impl Table for ImageFolder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn type_of(&self, column: usize) -> String {
        if column == IMAGE { "image" } else { "text" }.to_owned()
    }

    fn described_as(&self, _: usize) -> Option<Want<'static>> {
        Some(Want::Texts)
    }

    fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn is_image(&self, column: usize) -> bool {
        column == IMAGE
    }

    fn vocabulary(&self, column: usize) -> Option<&[String]> {
        (column == LABEL).then_some(&self.classes)
    }

    fn read(&mut self, wants: &[(usize, Want<'_>)], _: &mut Vec<DataError>, take: Take<'_>) -> Result<(), DataError> {
        let cells = wants.iter().map(|(column, want)| self.cells(*column, *want));
        let mut cells = cells.collect::<Result<Vec<Cells>, DataError>>()?;
        let rows = wants.iter().map(|(_, want)| want.rows()).fold(AT_A_TIME, usize::min);
        let count = self.files.len();
        for first in (0..count).step_by(rows) {
            let end = count.min(first + rows);
            for ((column, want), cells) in wants.iter().zip(&mut cells) {
                self.push(first, end, *column, *want, cells);
            }
            let done = Some(end as f64 / count as f64);
            take(Part { cells: &mut cells, first, place: &|record| self.place(record), done })?;
            cells.iter_mut().for_each(Cells::clear);
        }
        Ok(())
    }
}

/// What a folder holds but hidden things, sorted.
fn listed(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::from(FileError::read(path, source));
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Adds the images of a folder: first its own, then those of the folders in it.
fn images_in(path: &Path, images: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let (folders, files): (Vec<_>, Vec<_>) = listed(path)?.into_iter().partition(|path| path.is_dir());
    let is_image = |path: &PathBuf| {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        ENDINGS.contains(&&*ending)
    };
    images.extend(files.into_iter().filter(is_image));
    folders.iter().try_for_each(|folder| images_in(folder, images))
}
