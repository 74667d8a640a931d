//! What an add-on is, and the one way to have it.

use std::path::PathBuf;

use crate::backend::Missing;

/// An add-on that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The file that is loaded or started.
    pub path: PathBuf,
    /// What it is, as it states itself or was pinned.
    pub version: String,
    /// Where it comes from, for people.
    pub origin: String,
    /// Libraries that must be loaded before it, since the system's loader doesn't find them.
    pub needs: Vec<PathBuf>,
}

pub trait AddOn {
    /// As `autotune setup` takes it.
    fn name(&self) -> &'static str;
    /// What it is and what for, in a few words.
    fn title(&self) -> &'static str;
    /// The receipt, or why it isn't here. Looks only.
    fn here(&self) -> Result<Receipt, Missing>;
    /// Why it can't run on this machine, if it can't.
    fn obstacle(&self) -> Option<Missing>;
    /// What providing it needs and isn't here, all of it.
    fn lacks(&self) -> Option<Missing>;
    /// What providing it takes, in time, download and disk.
    fn takes(&self) -> String;
    fn provide(&self, tell: &dyn Tell) -> Result<Receipt, Missing>;
}

/// Hears how providing goes.
pub trait Tell {
    /// A sentence worth keeping.
    fn say(&self, what: &str);
    /// What is being done at the moment.
    fn step(&self, what: &str);
    /// All that was to be provided is here, or won't be.
    fn done(&self) {}
    /// Whether somebody asked to stop.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Whether anything may be provided, and who hears of it.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    pub allowed: bool,
    /// Whether a person asked for it by its name, and needn't hear how to decline it.
    pub named: bool,
    pub tell: &'a dyn Tell,
}

/// What is here, or is provided now.
pub fn ensure(addon: &dyn AddOn, setup: Setup) -> Result<Receipt, Missing> {
    if let Some(obstacle) = addon.obstacle() {
        return Err(obstacle);
    }
    let missing = match addon.here() {
        Ok(receipt) => return Ok(receipt),
        Err(missing) => missing,
    };
    if !setup.allowed {
        let why = format!("{}: {}, and --no-setup was given", addon.title(), missing.why);
        return Err(Missing { why, remedy: command(addon.name()) });
    }
    if let Some(lacking) = addon.lacks() {
        return Err(lacking);
    }
    if setup.tell.is_stopped() {
        return Err(Missing { why: "the setup was interrupted".to_owned(), remedy: command(addon.name()) });
    }
    let decline = if setup.named { "" } else { "; use --no-setup to skip it" };
    setup.tell.say(&format!("{} is set up once. This takes {}{decline}", addon.title(), addon.takes()));
    addon.provide(setup.tell)
}

/// What a person types to have an add-on.
pub fn command(name: &str) -> String {
    format!("`autotune setup {name}`")
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    struct Scripted {
        here: Cell<bool>,
        obstacle: Option<Missing>,
        lacks: Option<Missing>,
    }

    fn scripted() -> Scripted {
        Scripted { here: Cell::new(false), obstacle: None, lacks: None }
    }

    fn receipt() -> Receipt {
        Receipt { path: "/a".into(), version: "thing 1".into(), origin: "made here".into(), needs: vec![] }
    }

    impl AddOn for Scripted {
        fn name(&self) -> &'static str {
            "thing"
        }

        fn title(&self) -> &'static str {
            "the thing"
        }

        fn here(&self) -> Result<Receipt, Missing> {
            let missing = || Missing { why: "not here yet".into(), remedy: command("thing") };
            if self.here.get() { Ok(receipt()) } else { Err(missing()) }
        }

        fn obstacle(&self) -> Option<Missing> {
            self.obstacle.clone()
        }

        fn lacks(&self) -> Option<Missing> {
            self.lacks.clone()
        }

        fn takes(&self) -> String {
            "a minute".into()
        }

        fn provide(&self, tell: &dyn Tell) -> Result<Receipt, Missing> {
            tell.step("making it");
            self.here.set(true);
            Ok(receipt())
        }
    }

    #[derive(Default)]
    struct Heard(RefCell<Vec<String>>);

    impl Tell for Heard {
        fn say(&self, what: &str) {
            self.0.borrow_mut().push(what.to_owned());
        }

        fn step(&self, what: &str) {
            self.0.borrow_mut().push(what.to_owned());
        }
    }

    #[test]
    fn what_is_not_here_is_provided_once_and_its_price_is_said_first() {
        let (addon, heard) = (scripted(), Heard::default());
        let setup = Setup { allowed: true, named: false, tell: &heard };
        assert_eq!(ensure(&addon, setup), Ok(receipt()));
        assert_eq!(ensure(&addon, setup), Ok(receipt()));
        assert_eq!(
            *heard.0.borrow(),
            ["the thing is set up once. This takes a minute; use --no-setup to skip it", "making it"]
        );
    }

    #[test]
    fn what_may_not_be_provided_or_cannot_run_is_told_with_what_helps() {
        let (mut addon, heard) = (scripted(), Heard::default());
        let declined = ensure(&addon, Setup { allowed: false, named: false, tell: &heard }).unwrap_err();
        assert_eq!(declined.why, "the thing: not here yet, and --no-setup was given");
        assert_eq!(declined.remedy, "`autotune setup thing`");
        let setup = Setup { allowed: true, named: false, tell: &heard };
        addon.lacks = Some(Missing { why: "no compiler".into(), remedy: "install one".into() });
        assert_eq!(ensure(&addon, setup).unwrap_err().why, "no compiler");
        let obstacle = Missing { why: "too old".into(), remedy: "update".into() };
        addon.obstacle = Some(obstacle.clone());
        addon.here.set(true);
        assert_eq!(ensure(&addon, setup), Err(obstacle));
        assert!(heard.0.borrow().is_empty());
    }
}
