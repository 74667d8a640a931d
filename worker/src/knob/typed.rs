//! Knobs that the program itself reads: one constant for each, with its name, what values it takes, and what they are in code.

use super::{Applies, Candidate, Changes, Kind, KnobSpec, NO_LIMIT, Value};

/// A knob whose values are of a type.
pub struct Knob<T: 'static> {
    pub name: &'static str,
    applies: Applies,
    changes: Changes,
    help: &'static str,
    shape: Shape<T>,
    from: fn(&Shape<T>, &Value) -> Option<T>,
}

enum Shape<T: 'static> {
    Switch,
    Integer {
        least: i64,
        most: i64,
        default: i64,
    },
    Number {
        least: f64,
        most: f64,
        default: f64,
    },
    Limit,
    /// The first is the default.
    Choice(&'static [(&'static str, T)]),
}

impl Knob<bool> {
    /// One that is off unless it's set.
    pub const fn switch(name: &'static str, applies: Applies, help: &'static str) -> Self {
        let from = |_: &Shape<bool>, value: &Value| match value {
            Value::Switch(on) => Some(*on),
            _ => None,
        };
        Knob { name, applies, changes: Changes::Answers, help, shape: Shape::Switch, from }
    }
}

impl Knob<usize> {
    pub const fn integer(
        name: &'static str,
        applies: Applies,
        (least, most): (i64, i64),
        default: i64,
        help: &'static str,
    ) -> Self {
        Knob {
            name,
            applies,
            changes: Changes::Answers,
            help,
            shape: Shape::Integer { least, most, default },
            from: |_, value| whole(value),
        }
    }
}

impl Knob<Option<usize>> {
    /// A whole number of at least 1, or none, which is the default.
    pub const fn limit(name: &'static str, applies: Applies, help: &'static str) -> Self {
        let from = |_: &Shape<Option<usize>>, value: &Value| match value {
            Value::Text(text) => (text == NO_LIMIT).then_some(None),
            value => whole(value).map(Some),
        };
        Knob { name, applies, changes: Changes::Answers, help, shape: Shape::Limit, from }
    }
}

impl Knob<f64> {
    pub const fn number(
        name: &'static str,
        applies: Applies,
        (least, most): (f64, f64),
        default: f64,
        help: &'static str,
    ) -> Self {
        Knob {
            name,
            applies,
            changes: Changes::Answers,
            help,
            shape: Shape::Number { least, most, default },
            from: |_, value| value.number(),
        }
    }
}

impl<T: Copy> Knob<T> {
    /// One of several words, the first of which is the default and costs no quality.
    pub const fn choice(
        name: &'static str,
        applies: Applies,
        words: &'static [(&'static str, T)],
        help: &'static str,
    ) -> Self {
        let from = |shape: &Shape<T>, value: &Value| match (shape, value) {
            (Shape::Choice(words), Value::Text(text)) => {
                words.iter().find(|(word, _)| word == text).map(|(_, value)| *value)
            }
            _ => None,
        };
        Knob { name, applies, changes: Changes::Answers, help, shape: Shape::Choice(words), from }
    }

    /// What a word stands for.
    pub fn named(&self, word: &str) -> Option<T> {
        (self.from)(&self.shape, &Value::Text(word.to_owned()))
    }
}

impl<T: PartialEq> Knob<T> {
    /// The word for a value of a choice.
    pub fn word(&self, value: T) -> &'static str {
        match &self.shape {
            Shape::Choice(words) => {
                words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
            }
            _ => "",
        }
    }
}

impl<T: Copy> Knob<T> {
    /// The same knob, of which it's known that it changes no answers by itself.
    pub const fn changing(mut self, changes: Changes) -> Self {
        self.changes = changes;
        self
    }
}

impl<T> Knob<T> {
    pub fn kind(&self) -> Kind {
        match &self.shape {
            Shape::Switch => Kind::Switch,
            Shape::Integer { least, most, .. } => Kind::Integer { least: *least, most: *most },
            Shape::Number { least, most, .. } => Kind::Number { least: *least, most: *most },
            Shape::Limit => Kind::Limit,
            Shape::Choice(words) => Kind::Choice(words.iter().map(|(word, _)| (*word).to_owned()).collect()),
        }
    }

    pub fn default(&self) -> Value {
        match &self.shape {
            Shape::Switch => Value::Switch(false),
            Shape::Integer { default, .. } => Value::Integer(*default),
            Shape::Number { default, .. } => Value::Number(*default),
            Shape::Limit => Value::Text(NO_LIMIT.to_owned()),
            Shape::Choice(words) => Value::Text(words.first().map_or("", |(word, _)| word).to_owned()),
        }
    }

    /// As suites, lists and searches know it.
    pub fn spec(&self) -> KnobSpec {
        KnobSpec::new(self.name, self.applies, self.kind(), self.default(), self.help)
            .with_effect_on(self.changes)
    }

    /// Its value in a candidate, which is the default where the candidate doesn't have it; or why that is no value of it.
    pub fn of(&self, candidate: &Candidate) -> Result<T, String> {
        let value = candidate.knobs.get(self.name).cloned().unwrap_or_else(|| self.default());
        let told = |why: String| format!("{}: {why}", self.name);
        let value = self.kind().accept(&value).map_err(told)?;
        (self.from)(&self.shape, &value).ok_or_else(|| told(format!("{value} is not a valid value")))
    }
}

fn whole(value: &Value) -> Option<usize> {
    match value {
        Value::Integer(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: Knob<usize> = Knob::integer("batch", Applies::Run, (1, 64), 32, "");
    const LIMIT: Knob<Option<usize>> = Knob::limit("limit", Applies::Run, "");
    const SHARE: Knob<f64> = Knob::number("share", Applies::Load, (0.0, 1.0), 1.0, "");
    const FAST: Knob<bool> = Knob::switch("fast", Applies::Load, "");
    const WAY: Knob<char> = Knob::choice("way", Applies::Run, &[("here", 'h'), ("there", 't')], "");

    fn candidate(knobs: &[(&str, Value)]) -> Candidate {
        let knobs = knobs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Candidate { backend: "fake".into(), knobs }
    }

    #[test]
    fn what_is_not_set_is_the_default_and_what_is_set_has_its_type() {
        let nothing = candidate(&[]);
        assert_eq!((BATCH.of(&nothing), LIMIT.of(&nothing), SHARE.of(&nothing)), (Ok(32), Ok(None), Ok(1.0)));
        assert_eq!((FAST.of(&nothing), WAY.of(&nothing)), (Ok(false), Ok('h')));
        let set = candidate(&[
            ("batch", Value::Integer(8)),
            ("limit", Value::Integer(128)),
            ("share", Value::Integer(1)),
            ("fast", Value::Switch(true)),
            ("way", Value::Text("there".into())),
        ]);
        assert_eq!((BATCH.of(&set), LIMIT.of(&set), SHARE.of(&set)), (Ok(8), Ok(Some(128)), Ok(1.0)));
        assert_eq!((FAST.of(&set), WAY.of(&set), WAY.named("nowhere")), (Ok(true), Ok('t'), None));
        assert_eq!(WAY.word('t'), "there");
    }

    #[test]
    fn what_is_no_value_of_it_says_so() {
        assert_eq!(
            BATCH.of(&candidate(&[("batch", Value::Integer(0))])).unwrap_err(),
            "batch: 0 is not a whole number from 1 to 64"
        );
        let wrong = candidate(&[("way", Value::Text("up".into()))]);
        assert_eq!(WAY.of(&wrong).unwrap_err(), "way: \"up\" is not one of here, there");
    }

    #[test]
    fn its_specification_says_the_same() {
        let spec = WAY.spec();
        assert_eq!((spec.name.as_str(), spec.default.to_string()), ("way", "here".to_owned()));
        assert_eq!(spec.kind, Kind::Choice(vec!["here".into(), "there".into()]));
    }
}
