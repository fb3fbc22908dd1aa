//! The checks of what mask rules are about: classes, fields and operators.

use tidegate_core::words::DataClass;

use super::Checks;
use crate::document::{join_index, join_key, nearest, shortened};
use crate::file::{ClassDefinition, ClassName, ColumnRule, CsvRule, FieldRule, MaskRule, OperatorRule};
use crate::mask::{Path, Split, can_encrypt, can_generalise, has_dictionary, is_replacement};

/// Classes that a policy may define.
const CLASSES_MAX: usize = 64;
/// Fields that one rule may name.
const FIELDS_MAX: usize = 256;

impl Checks<'_> {
    pub(super) fn classes(&mut self, classes: &[ClassDefinition]) {
        if classes.len() > CLASSES_MAX {
            self.note("classes", format!("has more than {CLASSES_MAX} classes"));
        }
        for (index, class) in classes.iter().enumerate() {
            let path = join_index("classes", index);
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if !class.name.chars().all(legal) {
                self.note(&join_key(&path, "name"), "may have small letters, digits and `_` only");
            } else if DataClass::ALL.iter().any(|known| known.name() == class.name) || class.name == "field" {
                self.note(&join_key(&path, "name"), format!("`{}` is a built-in class", class.name));
            }
            for (at, word) in class.keywords.iter().enumerate() {
                if crate::scan::folded(word).is_empty() {
                    self.note(&join_index(&join_key(&path, "keywords"), at), "has no letter or digit");
                }
            }
        }
    }

    /// What a rule is about, and whether its operator suits that.
    pub(super) fn masked(&mut self, path: &str, mask: &MaskRule) {
        if mask.classes.is_empty() && mask.fields.is_empty() {
            self.note(path, "masks nothing; give `classes` or `fields`");
        }
        let classes = join_key(path, "classes");
        for (index, class) in mask.classes.iter().enumerate() {
            self.class(&join_index(&classes, index), class);
        }
        self.no_repetition(&classes, &mask.classes);
        let fields = join_key(path, "fields");
        if mask.fields.len() > FIELDS_MAX {
            self.note(&fields, format!("has more than {FIELDS_MAX} fields"));
        }
        for (index, field) in mask.fields.iter().enumerate() {
            self.field(&join_index(&fields, index), field, mask.csv.is_some());
            if field.tag.is_some() && !mask.schema_registry {
                let path = join_key(&join_index(&fields, index), "tag");
                self.note(&path, "only schemas have tags; say `schema_registry: true` in the rule");
            }
        }
        self.no_repetition(&fields, &mask.fields);
        if mask.schema_registry && mask.csv.is_some() {
            self.note(
                &join_key(path, "csv"),
                "records with a schema are not CSV; leave `csv` or `schema_registry` out",
            );
        }
        if let Some(csv) = &mask.csv {
            self.csv(&join_key(path, "csv"), csv, mask);
        }
        self.extras(path, mask);
        self.operator(path, mask);
    }

    /// What the scanner is asked for beyond classes.
    fn extras(&mut self, path: &str, mask: &MaskRule) {
        let regions = join_key(path, "phone_regions");
        self.no_repetition(&regions, &mask.phone_regions);
        for (index, region) in mask.phone_regions.iter().enumerate() {
            if !crate::scan::region::is_region(region) {
                let message = format!("`{}` is no region of ISO 3166-1 with telephone numbers", shortened(region));
                self.note(&join_index(&regions, index), message);
            }
        }
        if !mask.phone_regions.is_empty() && !mask.classes.contains(&ClassName::Known(DataClass::Phone)) {
            self.note(&regions, "is about the class `phone`, which the rule does not name");
        }
        let known = mask.classes.iter().any(|class| matches!(class, ClassName::Known(class) if !class.is_by_field()));
        if mask.base64_depth > 0 && !known {
            self.note(
                &join_key(path, "base64_depth"),
                "opens Base64 for built-in classes, of which the rule names none",
            );
        }
        let split = join_key(path, "split");
        if !mask.split.is_empty() && !known {
            self.note(&split, "puts values together for built-in classes, of which the rule names none");
        }
        if mask.split.len() > Split::LISTS_MAX {
            self.note(&split, format!("has more than {} items", Split::LISTS_MAX));
        }
        for (index, paths) in mask.split.iter().enumerate() {
            let path = join_index(&split, index);
            if !(2..=Split::PARTS_MAX).contains(&paths.len()) {
                self.note(&path, format!("must give from 2 to {} paths", Split::PARTS_MAX));
            }
            for (at, text) in paths.iter().enumerate() {
                if let Err(message) = Path::parse(text) {
                    self.note(&join_index(&path, at), message);
                }
            }
        }
    }

    fn class(&mut self, path: &str, class: &ClassName) {
        let ClassName::Custom(name) = class else { return };
        let file = self.file;
        let own = || file.value.classes.iter().map(|class| class.name.as_str());
        if own().any(|known| known == name) {
            return;
        }
        let known = DataClass::ALL.iter().map(|class| class.name()).chain(own());
        let hint = nearest(name, known).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        self.note(path, format!("`{}` is neither a built-in class nor one under `classes`{hint}", shortened(name)));
    }

    fn field(&mut self, path: &str, field: &FieldRule, is_csv: bool) {
        let FieldRule { path: by_path, name, names_of, tag, column, class, subject } = field;
        let given = [
            ("path", by_path.is_some()),
            ("name", name.is_some()),
            ("names_of", names_of.is_some()),
            ("tag", tag.is_some()),
            ("column", column.is_some()),
        ];
        let given: Vec<String> = given.iter().filter(|(_, given)| *given).map(|(key, _)| format!("`{key}`")).collect();
        match given.len() {
            0 => self.note(path, "names no field; give `path`, `name`, `names_of`, `tag` or `column`"),
            1 => {}
            _ => self.note(path, format!("gives {} at once; give each an item of its own", given.join(" and "))),
        }
        if let Some(text) = by_path {
            let path = join_key(path, "path");
            if is_csv {
                self.note(&path, "CSV has columns, not paths; give `column` or `name`");
            }
            if let Err(message) = Path::parse(text) {
                self.note(&path, message);
            }
        }
        if column.is_some() && !is_csv {
            self.note(&join_key(path, "column"), "only CSV has columns; say how to read it with the rule's `csv`");
        }
        if let Some(text) = name
            && crate::scan::folded(text).is_empty()
        {
            self.note(&join_key(path, "name"), "has no letter or digit");
        }
        if let Some(class) = names_of.filter(|class| !has_dictionary(*class)) {
            let message = format!("no names of fields are known for `{}`; give `name`", class.name());
            self.note(&join_key(path, "names_of"), message);
        }
        if let Some(class) = class {
            self.class(&join_key(path, "class"), class);
        }
        if let Some(subject) = subject {
            self.subject(&join_key(path, "subject"), subject, class.is_some());
        }
    }

    fn subject(&mut self, path: &str, subject: &str, has_class: bool) {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if has_class {
            self.note(path, "stands beside `class`; give one of them: values of a class are tagged by themselves");
        } else if subject == "field" || !subject.bytes().all(fits) {
            self.note(path, "must be small letters, digits and `_`, and not `field`");
        } else if DataClass::ALL.iter().any(|class| class.name() == subject) {
            self.note(path, format!("`{subject}` is a built-in class; give it as `class`"));
        }
    }

    fn csv(&mut self, path: &str, csv: &CsvRule, mask: &MaskRule) {
        let separator = csv.separator.as_str();
        if !separator.is_ascii() || matches!(separator, "\"" | "\r" | "\n") {
            self.note(&join_key(path, "separator"), "cannot stand between fields");
        }
        if csv.header && !csv.columns.is_empty() {
            self.note(&join_key(path, "columns"), "the header of each record names the columns already");
        }
        self.no_repetition(&join_key(path, "columns"), &csv.columns);
        let named = mask.fields.iter().any(|field| field.name.is_some() || field.names_of.is_some());
        if named && !csv.header && csv.columns.is_empty() {
            self.note(path, "fields are given by name, so say `header: true` or give `columns`");
        }
        for (index, field) in mask.fields.iter().enumerate() {
            let path = || join_key(&join_index(&join_key(path.trim_end_matches(".csv"), "fields"), index), "column");
            match &field.column {
                Some(ColumnRule::Name(name)) if !csv.header => {
                    let fold = |name: &str| crate::scan::folded(name).replace(' ', "");
                    if !csv.columns.iter().any(|column| fold(column) == fold(name)) {
                        self.note(&path(), format!("no column is named `{}`", shortened(name)));
                    }
                }
                Some(ColumnRule::Number(number)) if !csv.columns.is_empty() && *number as usize > csv.columns.len() => {
                    self.note(&path(), format!("there are only {} columns", csv.columns.len()));
                }
                _ => {}
            }
        }
    }

    fn operator(&mut self, path: &str, mask: &MaskRule) {
        let operator = join_key(path, "operator");
        if let OperatorRule::Pseudonym(name) | OperatorRule::Encrypt(name) = &mask.operator
            && !self.file.value.keys.iter().any(|key| key.name == *name)
        {
            self.note(&operator, format!("there is no key `{}` under `keys`", shortened(name)));
        }
        if let OperatorRule::Replace(text) = &mask.operator
            && !is_replacement(text)
        {
            let path = join_key(&operator, "replace");
            self.note(&path, "cannot stand in JSON as it is; leave out quotes, backslashes and control characters");
        }
        let suits: fn(DataClass) -> bool = match &mask.operator {
            OperatorRule::Generalise => can_generalise,
            OperatorRule::Encrypt(_) => can_encrypt,
            _ => return,
        };
        // Ranges are known of built-in classes only; how many digits others have is not.
        for (index, class) in mask.classes.iter().enumerate() {
            if !matches!(class, ClassName::Known(class) if suits(*class)) {
                let path = join_index(&join_key(path, "classes"), index);
                self.note(&path, format!("the rule's operator cannot be used for `{}`", shortened(class.name())));
            }
        }
        if matches!(mask.operator, OperatorRule::Generalise) {
            for (index, field) in mask.fields.iter().enumerate() {
                let class = match (&field.class, field.names_of) {
                    (Some(ClassName::Known(class)), _) => Some(*class),
                    (None, class) => class,
                    _ => None,
                };
                if !class.is_some_and(suits) {
                    let path = join_index(&join_key(path, "fields"), index);
                    self.note(&path, "the rule's operator needs a `class` that has ranges");
                }
            }
        }
    }
}
