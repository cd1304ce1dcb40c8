//! Lists whose entries are known one by one, from files and requests.

use cv_core::analyzers::{self, List};

use super::{Catalog, Entry, Parameters, Plan, PlanError, add, function};

impl Catalog {
    /// Reads a list of the operator's, as [`Self::trusted`] does a line.
    pub fn trusted_list(&self, list: &List) -> Result<Plan, PlanError> {
        match list {
            List::Line(line) => self.trusted(line),
            List::Entries(entries) => {
                let start = |kind: &str, target: &str, parameters| self.start(kind, target, &parameters);
                self.read(self.listed(entries)?, start)?.joined()
            }
        }
    }

    /// Reads a list of a session's, as [`Self::plan`] does a line.
    pub fn plan_list(&self, list: &List) -> Result<Plan, PlanError> {
        match list {
            List::Line(line) => self.plan(line),
            List::Entries(entries) => self.read(self.listed(entries)?, |kind, _, _| Err(self.refuse(kind)))?.joined(),
        }
    }

    fn listed<'a>(&'a self, entries: &'a [analyzers::Entry]) -> Result<Vec<Entry<'a>>, PlanError> {
        entries.iter().map(|entry| self.one(entry)).collect()
    }

    fn one<'a>(&'a self, entry: &'a analyzers::Entry) -> Result<Entry<'a>, PlanError> {
        let analyzers::Entry { name, target, parameters: pairs } = entry;
        let mut parameters = Parameters::default();
        for (key, value) in pairs {
            add(&mut parameters, &format!("{key}={value}"), name)?;
        }
        Ok(match (target, self.definitions.get(name)) {
            (Some(target), _) => Entry::Function(name, target, parameters),
            (None, Some(plan)) if pairs.is_empty() => Entry::Defined(plan),
            _ if function::MODELS.contains(&name.as_str()) => Entry::Function(name, "", parameters),
            _ => Entry::Named(name, parameters),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        catalog.define("quick", "stats:window=2").unwrap();
        catalog
    }

    fn list(json: &str) -> List {
        List::of_body(json).unwrap()
    }

    #[test]
    fn entries_mean_what_a_line_means() {
        let catalog = catalog();
        for (json, line) in [
            (r#"[{"name":"stats"}]"#, "stats"),
            (r#"[{"name":"busy","ms":3},{"window":"5","name":"stats"}]"#, "busy:ms=3,stats:window=5"),
            (r#"[{"name":"quick"}]"#, "quick"),
        ] {
            assert!(catalog.plan_list(&list(json)).unwrap() == catalog.plan(line).unwrap(), "{json}");
        }
    }

    #[test]
    fn wrong_entries_say_what_would_be_right() {
        let message = |json| catalog().plan_list(&list(json)).map(drop).unwrap_err().to_string();
        assert!(message(r#"[{"name":"stat"}]"#).starts_with("there is no analyzer 'stat'; known are stats, "));
        assert!(message(r#"[{"name":"quick","window":3}]"#).contains("takes no parameters of its own"));
        assert_eq!(
            message(r#"[{"name":"stats","windo":3}]"#),
            "analyzer stats: has no parameter 'windo'; it takes window"
        );
        assert!(message(r#"[{"name":"stats"},{"name":"stats"}]"#).contains("listed twice"));
        assert!(message("[]").contains("1 to 32"));
        let many = format!("[{}]", vec![r#"{"name":"stats"}"#; 33].join(","));
        assert!(message(&many).contains("1 to 32"));
        assert!(message(r#"[{"python":"/etc/passwd:f"}]"#).contains("only the operator may name files"));
        assert!(message(r#"[{"program":"/bin/sh"}]"#).contains("only the operator may name files"));
    }

    #[test]
    fn names_of_files_may_hold_commas_and_colons() {
        let named = r#"[{"python":"no, such: file.py:look"}]"#;
        let message = catalog().trusted_list(&list(named)).map(drop).unwrap_err().to_string();
        assert!(message.contains("there is no file no, such: file.py"), "{message}");
    }
}
