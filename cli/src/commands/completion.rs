//! `gometa completion`: prints a completion script for a shell.

use std::io::Write;

use crate::output::Failure;

/// Where to install the scripts.
pub(crate) const COMPLETION_HELP: &str = "\
  bash  gometa completion bash > ~/.local/share/bash-completion/completions/gometa
  zsh   gometa completion zsh > ~/.zfunc/_gometa     (with ~/.zfunc in fpath, before compinit)
  fish  gometa completion fish > ~/.config/fish/completions/gometa.fish";

#[derive(clap::Args, Debug)]
pub(crate) struct Completion {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completion {
    /// Prints the script for `command`, the whole command line.
    pub(crate) fn run(&self, mut command: clap::Command, out: &mut dyn Write) -> Result<u8, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "gometa", &mut script);
        out.write_all(&script)?;
        Ok(0)
    }
}
