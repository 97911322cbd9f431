//! Reads files into a configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_hcl::{Object, Value};

use crate::fields::{Fields, Report};
use crate::{Config, ConfigError, Place, Warning};

/// A configuration file's name and text.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name, for messages.
    pub file: Arc<str>,
    /// HCL or JSON.
    pub text: String,
}

/// A configuration and what its operator should know about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Unknown keys, and keys that have no effect.
    pub warnings: Vec<Warning>,
}

/// Reads the configuration from files and directories, in the order they are given. Of a directory, the files that
/// end with `.hcl` or `.json` are read in the order of their names; directories within it are not.
pub fn load<P: AsRef<Path>>(paths: &[P]) -> Result<Loaded, ConfigError> {
    let mut sources = Vec::new();
    for path in paths {
        sources.extend(read(path.as_ref())?);
    }
    parse(&sources)
}

/// As [`load`], with the templates in addresses (`{{ GetPrivateIP }}`) replaced by `expand`, which finds out about the
/// machine. Without it they are refused.
pub fn load_with<P: AsRef<Path>>(
    paths: &[P],
    expand: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Loaded, ConfigError> {
    let mut sources = Vec::new();
    for path in paths {
        sources.extend(read(path.as_ref())?);
    }
    let mut objects = objects(&sources)?;
    for (file, object) in &mut objects {
        expand_addresses(file, object, expand)?;
    }
    let mut loaded = configuration(&objects)?;
    loaded.config.paths = paths.iter().map(|path| path.as_ref().to_owned()).collect();
    Ok(loaded)
}

/// The keys whose values may be templates. Source: Vault's pages on the outermost keys, `listener "tcp"` and storage `raft`.
const ADDRESSES: [&str; 5] = ["api_addr", "cluster_addr", "address", "cluster_address", "leader_api_addr"];

fn expand_addresses(
    file: &Arc<str>,
    object: &mut Object,
    expand: &dyn Fn(&str) -> Result<String, String>,
) -> Result<(), ConfigError> {
    fn within(
        file: &Arc<str>,
        value: &mut Value,
        expand: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<(), ConfigError> {
        match value {
            Value::Object(object) => expand_addresses(file, object, expand),
            Value::List(elements) => {
                elements.iter_mut().try_for_each(|element| within(file, &mut element.value, expand))
            }
            _ => Ok(()),
        }
    }
    for item in &mut object.items {
        match &mut item.value {
            Value::String(text) if ADDRESSES.contains(&item.key.as_str()) && text.contains("{{") => {
                let place = Place { file: Arc::clone(file), position: item.value_position };
                *text = expand(text).map_err(|reason| place.invalid(format!("{:?}: {reason}", item.key)))?;
            }
            value => within(file, value, expand)?,
        }
    }
    Ok(())
}

/// The texts of a file, or of those of a directory.
pub(crate) fn read(path: &Path) -> Result<Vec<Source>, ConfigError> {
    let source = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, error))?;
        Ok(Source { file: file.display().to_string().into(), text })
    };
    files(path)?.into_iter().map(source).collect()
}

/// Reads the configuration from texts; of keys that several set, the last text counts.
pub fn parse(sources: &[Source]) -> Result<Loaded, ConfigError> {
    configuration(&objects(sources)?)
}

fn configuration(objects: &[(&Arc<str>, Object)]) -> Result<Loaded, ConfigError> {
    let report = Report::default();
    let fields = Fields::outermost(objects.iter().map(|(file, object)| (*file, object)).collect(), &report);
    let config = Config::read(fields)?;
    Ok(Loaded { config, warnings: report.into_warnings() })
}

/// Each text, parsed.
pub(crate) fn objects(sources: &[Source]) -> Result<Vec<(&Arc<str>, Object)>, ConfigError> {
    let mut objects = Vec::new();
    for source in sources {
        let object =
            strongroom_hcl::parse(&source.text).map_err(|error| ConfigError::parse(&source.file, error))?;
        refuse_duplicates(&source.file, &object)?;
        objects.push((&source.file, object));
    }
    Ok(objects)
}

/// An argument that is set twice in one file is a mistake, as in Vault.
fn refuse_duplicates(file: &Arc<str>, object: &Object) -> Result<(), ConfigError> {
    match object.first_duplicate() {
        None => Ok(()),
        Some(item) => {
            let place = Place { file: Arc::clone(file), position: item.position };
            Err(place
                .invalid(format!("{:?} was already set; each argument can only be defined once", item.key)))
        }
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, error))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| unreadable(path, error))? {
        let file = entry.map_err(|error| unreadable(path, error))?.path();
        if is_configuration(&file) && !file.is_dir() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(ConfigError::EmptyDirectory { directory: path.display().to_string() });
    }
    files.sort();
    Ok(files)
}

/// By name: editors' lock files (`.#server.hcl`) are none.
fn is_configuration(file: &Path) -> bool {
    let lock = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".#"));
    !lock && file.extension().is_some_and(|ending| ending == "hcl" || ending == "json")
}

fn unreadable(path: &Path, source: std::io::Error) -> ConfigError {
    ConfigError::Read { file: path.display().to_string(), error: source }
}
