//! What serving and analysing alike are told of analyzers.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use cv_core::analyzers::List;

use super::definition;
use crate::analysis::{Catalog, Plan, Setup};

/// Which analyzers there are, and what those need that look at pictures in processes of their own.
#[derive(Args, Clone, Debug)]
pub struct Analyzers {
    /// Analyzers (in serving, of a session that asks for none): name or name:key=value, separated by commas, or a file of them (.toml, .json).
    #[arg(long, env = "CV_ANALYZE", default_value = "stats", value_name = "LIST")]
    pub analyze: String,
    /// A name that sessions and lists may use, with what it stands for; repeatable.
    #[arg(long, value_name = "NAME=SPEC", value_parser = definition)]
    pub define: Vec<(String, String)>,
    /// Python for analyzers of one's own; it needs numpy [default: that of the active virtual environment, or python3].
    #[arg(long, env = "CV_PYTHON", value_name = "PATH")]
    pub python: Option<PathBuf>,
    /// ONNX Runtime's library for models, or its folder [default: beside this program, or where the system looks].
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
}

impl Analyzers {
    /// What there is to choose from, and what the list chooses. Processes are started as `setup` says.
    ///
    /// # Errors
    /// If a definition or the list cannot be had.
    pub fn load(&self, setup: Setup) -> Result<(Catalog, Plan)> {
        let (python, onnxruntime) = (self.python.clone(), self.onnxruntime.clone());
        let mut catalog = Catalog::new(Setup { python, onnxruntime, ..setup });
        for (name, list) in &self.define {
            catalog.define(name, list).with_context(|| format!("--define {name}={list}"))?;
        }
        let list = List::read(&self.analyze).context("--analyze")?;
        let plan = catalog.trusted_list(&list).context("--analyze")?;
        Ok((catalog, plan))
    }
}
