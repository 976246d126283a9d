//! The daily zip: what Netcore's event scheduler pushes to a server of ours, here into a folder.
//!
//! What always holds: the same day, seed and count make the same bytes, so that a zip can be sent again; and every row
//! that a zip must bring is known beforehand ([`DaySpec::event_ids`]).
//!
//! ```text
//! DaySpec ──> a CSV for each event name ──> zip ──half──> drop/NAME.zip.part ──other half──> drop/NAME.zip
//! ```

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::serve::lock;
use super::{Sandbox, SandboxError};

mod day;
mod table;

pub use day::{DayFile, DaySpec};

/// More rows of one event name are a mistake.
const ROWS_MAX: u64 = 100_000_000;
/// A longer upload is a mistake.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

/// How a zip arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrival {
    /// Under `NAME.part`, and renamed when it is whole.
    #[default]
    Part,
    /// Under its own name from the start, in two halves.
    Growing,
    /// All at once.
    Whole,
}

/// A day's zip that is to be dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DropRequest {
    /// The day that the data are of; absent for yesterday.
    pub date: Option<Date>,
    /// Events of each name, broken ones included.
    pub rows: u64,
    /// So many rows of the first file lack their last values.
    pub broken_rows: u64,
    /// Decides everything else.
    pub seed: u64,
    /// How it arrives.
    pub arrival: Arrival,
    /// How long its upload stands still in the middle, in milliseconds; unless it arrives all at once.
    pub pause_ms: u64,
}

impl Default for DropRequest {
    fn default() -> Self {
        Self { date: None, rows: day::thousand(), broken_rows: 0, seed: 0, arrival: Arrival::default(), pause_ms: 500 }
    }
}

/// A zip that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Where it lies.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// Good rows in all its files.
    pub rows: u64,
    /// Its files.
    pub files: Vec<DayFile>,
}

/// What was dropped so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DropState {
    /// Zips that are whole.
    pub zips: u64,
    /// Zips whose upload goes on.
    pub uploading: u64,
}

impl Sandbox {
    /// The folder that zips are dropped into.
    #[must_use]
    pub fn drop_folder(&self) -> PathBuf {
        self.dir().join("drop")
    }

    /// Drops a day's zip into the folder, over one of that name; returns when it is whole.
    ///
    /// # Errors
    /// When it cannot be written, or the request makes no sense.
    pub async fn drop_zip(&self, request: &DropRequest) -> Result<Dropped, SandboxError> {
        let pause = Duration::from_millis(request.pause_ms);
        if request.rows > ROWS_MAX || pause > PAUSE_MAX {
            return Err(SandboxError::Request(format!(
                "at most {ROWS_MAX} rows and a pause of {} s are possible",
                PAUSE_MAX.as_secs()
            )));
        }
        let spec = DaySpec {
            date: request.date.unwrap_or_else(|| self.yesterday()),
            rows: request.rows,
            broken_rows: request.broken_rows,
            seed: request.seed,
        };
        lock(&self.core.drop).uploading += 1;
        let dropped = self.upload(&spec, request.arrival, pause).await;
        let mut state = lock(&self.core.drop);
        state.uploading -= 1;
        state.zips += u64::from(dropped.is_ok());
        dropped
    }

    async fn upload(&self, spec: &DaySpec, arrival: Arrival, pause: Duration) -> Result<Dropped, SandboxError> {
        let path = self.drop_folder().join(spec.name());
        let fail = |source| SandboxError::Write { path: path.clone(), source };
        let (made, folder) = (spec.clone(), self.dir().to_owned());
        // Made aside: an upload can stand still after half of it only when it is known how long it is.
        let zip = tokio::task::spawn_blocking(move || make(&made, &folder)).await;
        let mut zip = zip.map_err(|error| fail(io::Error::other(error)))?.map_err(fail)?;
        let bytes = zip.metadata().map_err(fail)?.len();

        let at = if arrival == Arrival::Part { part(&path) } else { path.clone() };
        let mut upload = File::create(&at).map_err(fail)?;
        copy(&mut zip, &mut upload, if arrival == Arrival::Whole { bytes } else { bytes / 2 }).map_err(fail)?;
        if arrival != Arrival::Whole {
            tokio::time::sleep(pause).await;
            copy(&mut zip, &mut upload, bytes).map_err(fail)?;
        }
        drop(upload);
        if at != path {
            std::fs::rename(&at, &path).map_err(fail)?;
        }
        let files = spec.files();
        Ok(Dropped { path, bytes, rows: files.iter().map(|file| file.rows).sum(), files })
    }
}

/// The name of a zip whose upload goes on.
fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// The zip in a file that has no name, at its beginning.
fn make(spec: &DaySpec, folder: &Path) -> io::Result<File> {
    let out = io::BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(folder)?);
    let mut file = spec.write_to(out)?.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}

fn copy(from: &mut File, to: &mut File, bytes: u64) -> io::Result<()> {
    io::copy(&mut from.take(bytes), to)?;
    to.flush()
}
