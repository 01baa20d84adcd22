//! Reading settings one by one out of what was collected. Whatever is not asked for in the end was a mistake.

use std::{collections::BTreeMap, ops::RangeInclusive};

use figment::value::Value;
use trellis_model::fault::did_you_mean;

use super::{
    mistake::{ConfigMistake, ConfigMistakes},
    print::EffectiveSetting,
    setting::{self, Setting},
    sources::{Collected, Origin, SECTIONS},
};

/// Hands out values, notes every mistake, and goes on with the default where there was one.
#[derive(Debug)]
pub(super) struct Reader {
    values: BTreeMap<String, (Value, Origin)>,
    mistakes: Vec<ConfigMistake>,
    settings: Vec<EffectiveSetting>,
}

/// One section of the settings; the nameless one is the top of the file.
pub(super) struct Section<'a> {
    name: &'static str,
    reader: &'a mut Reader,
}

impl Reader {
    pub fn new(collected: Collected) -> Self {
        Self { values: collected.values, mistakes: collected.mistakes, settings: Vec::new() }
    }

    pub fn section(&mut self, name: &'static str) -> Section<'_> {
        Section { name, reader: self }
    }

    /// A mistake in what a setting leads to, blamed on where the setting was written.
    pub fn blame_setting(&mut self, key: &str, problem: String, fix: &str) {
        let written = self.settings.iter().find(|setting| setting.key == key);
        let origin = written.map_or(Origin::Default, |setting| setting.origin.clone());
        self.mistakes.push(ConfigMistake::new(origin, problem, fix));
    }

    /// All settings as they are, or all mistakes.
    pub fn finish(mut self) -> Result<Vec<EffectiveSetting>, ConfigMistakes> {
        let unknown = std::mem::take(&mut self.values);
        for (key, (_, origin)) in unknown {
            self.mistakes.push(self.unknown(&key, origin));
        }
        if self.mistakes.is_empty() { Ok(self.settings) } else { Err(ConfigMistakes(self.mistakes)) }
    }

    fn unknown(&self, key: &str, origin: Origin) -> ConfigMistake {
        if SECTIONS.contains(&key) {
            let fix = format!("write its keys instead, such as {}", origin.spelling_of(self.first_of(key)));
            return ConfigMistake::new(origin, format!("`{key}` is a table"), fix);
        }
        let parent = key.rsplit_once('.').map_or("", |(parent, _)| parent);
        if self.known().any(|known| known == parent) {
            return ConfigMistake::new(origin, format!("`{parent}` is no table"), "give it a single value");
        }
        let fix = match self.nearest(key) {
            Some(nearest) => format!("did you mean {}?", origin.spelling_of(nearest)),
            None => "leave it out; --print-config lists all there are".to_owned(),
        };
        ConfigMistake::new(origin, "there is no such setting", fix)
    }

    fn known(&self) -> impl Iterator<Item = &str> {
        self.settings.iter().map(|setting| setting.key.as_str())
    }

    fn first_of(&self, section: &str) -> &str {
        let first = self.known().find(|known| known.split_once('.').is_some_and(|(head, _)| head == section));
        first.expect("every section has a setting")
    }

    /// A key spelled almost like it, one of the same name elsewhere, or one spelled almost like it in its section.
    fn nearest(&self, key: &str) -> Option<&str> {
        let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let close = did_you_mean(key, self.known());
        close.or_else(|| self.known().find(|known| name(known) == name(key)))
    }
}

impl Section<'_> {
    /// A setting with a default.
    pub fn setting<T: Setting>(&mut self, key: &'static str, standard: T) -> T {
        let (value, origin) = self.take(key);
        let value = value.unwrap_or(standard);
        self.note(key, Some(value.to_toml()), origin);
        value
    }

    /// A setting with a default and bounds, both of which may be reached.
    pub fn setting_in<T: Setting + PartialOrd>(
        &mut self,
        key: &'static str,
        standard: T,
        bounds: RangeInclusive<T>,
    ) -> T {
        debug_assert!(bounds.contains(&standard), "the default of {key} is out of bounds");
        let (value, origin) = self.take(key);
        let value = match value {
            Some(value) if !bounds.contains(&value) => {
                let problem = format!("`{}` is out of bounds", setting::shown(&value));
                let (least, most) = (setting::shown(bounds.start()), setting::shown(bounds.end()));
                self.blame(origin.clone(), problem, format!("use {least} to {most}"));
                standard
            }
            Some(value) => value,
            None => standard,
        };
        self.note(key, Some(value.to_toml()), origin);
        value
    }

    /// A setting that may be absent.
    pub fn optional<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        let (value, origin) = self.take::<T>(key);
        self.note(key, value.as_ref().map(T::to_toml), origin);
        value
    }

    /// A mistake that only shows when two settings are seen together; blamed on the first key.
    pub fn conflict(&mut self, key: &'static str, problem: impl Into<String>, fix: impl Into<String>) {
        let key = self.full_key(key);
        let origin = self.reader.settings.iter().find(|setting| setting.key == key);
        let origin = origin.map_or(Origin::Default, |setting| setting.origin.clone());
        self.blame(origin, problem, fix);
    }

    /// What was written for `key`: nothing, too, if it was of the wrong kind, which is a mistake.
    fn take<T: Setting>(&mut self, key: &'static str) -> (Option<T>, Origin) {
        let Some((written, origin)) = self.reader.values.remove(&self.full_key(key)) else {
            return (None, Origin::Default);
        };
        let value = setting::parse(&written);
        if value.is_none() {
            let problem = format!("{} cannot be used", T::quoted(&written));
            self.blame(origin.clone(), problem, format!("write {}", T::EXPECTED));
        }
        (value, origin)
    }

    fn blame(&mut self, origin: Origin, problem: impl Into<String>, fix: impl Into<String>) {
        self.reader.mistakes.push(ConfigMistake::new(origin, problem, fix));
    }

    fn note(&mut self, key: &'static str, value: Option<toml::Value>, origin: Origin) {
        let key = self.full_key(key);
        self.reader.settings.push(EffectiveSetting { key, value, origin });
    }

    fn full_key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}
