//! The files of the repository.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The text files of a tree by their paths from its root, with `/` between names.
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the tree that this package was compiled from.
    pub(crate) fn of_this_repository() -> Tree {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = package.parent().expect("the package lies in the repository");
        let tree = Tree::read(root).expect("the repository can be read");
        assert!(
            tree.has("Cargo.toml") && tree.has("tests/Cargo.toml"),
            "{} is not the repository",
            root.display()
        );
        tree
    }

    /// Reads every text file below `root`. Left out: what `.gitignore` names, build directories (they carry a
    /// CACHEDIR.TAG), hidden directories other than `.ci`, and whatever is not UTF-8.
    fn read(root: &Path) -> io::Result<Tree> {
        let ignored = ignored_directories(&fs::read_to_string(root.join(".gitignore")).unwrap_or_default());
        let mut files = BTreeMap::new();
        let mut waiting: Vec<(PathBuf, String)> = vec![(root.to_path_buf(), String::new())];
        while let Some((directory, prefix)) = waiting.pop() {
            for found in fs::read_dir(&directory)? {
                let found = found?;
                let Ok(name) = found.file_name().into_string() else { continue };
                let path = format!("{prefix}{name}");
                let kind = found.file_type()?;
                if kind.is_dir() {
                    let hidden = name.starts_with('.') && name != ".ci";
                    let built = found.path().join("CACHEDIR.TAG").exists();
                    if !hidden && !built && !ignored.iter().any(|directory| directory.matches(&path, &name)) {
                        waiting.push((found.path(), format!("{path}/")));
                    }
                } else if kind.is_file()
                    && name != ".git"
                    && let Ok(text) = String::from_utf8(fs::read(found.path())?)
                {
                    files.insert(path, text);
                }
            }
        }
        Ok(Tree { files })
    }

    /// Returns the files whose path has one of the endings, in ascending order.
    pub(crate) fn ending<'a>(&'a self, endings: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .filter(move |(path, _)| endings.iter().any(|ending| path.ends_with(ending)))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Returns the text of a file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether a path is that of a file, or of a directory with files.
    pub(crate) fn has(&self, path: &str) -> bool {
        let directory = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path)
            || self
                .files
                .range(directory.clone()..)
                .next()
                .is_some_and(|(file, _)| file.starts_with(&directory))
    }

    #[cfg(test)]
    pub(crate) fn of_files(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect() }
    }
}

/// A line of `.gitignore` that names a directory: `/here/` at the root only, `anywhere/` at any depth.
struct Ignored {
    name: String,
    at_root: bool,
}

impl Ignored {
    fn matches(&self, path: &str, name: &str) -> bool {
        self.name == if self.at_root { path } else { name }
    }
}

fn ignored_directories(gitignore: &str) -> Vec<Ignored> {
    gitignore
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#') && line.ends_with('/'))
        .map(|line| Ignored { name: line.trim_matches('/').to_string(), at_root: line.starts_with('/') })
        .collect()
}

#[test]
fn gitignore_names_directories() {
    let ignored = ignored_directories("# comment\n/target/\n__pycache__/\n*.log\n");
    let matches = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        ignored.iter().any(|directory| directory.matches(path, name))
    };
    assert!(matches("target") && matches("python/__pycache__"));
    assert!(!matches("docs/target") && !matches("docs") && !matches("a.log"));
}

#[test]
fn directories_exist_through_their_files() {
    let tree = Tree::of_files(&[("docs/a.md", ""), ("docs-old", "")]);
    assert!(tree.has("docs/a.md") && tree.has("docs") && tree.has("docs/"));
    assert!(!tree.has("doc") && !tree.has("docs/b.md") && tree.text("docs").is_none());
}
