//! XML, as little of it as SAML needs: one tree, elements by namespace and name, text without
//! anything hidden in it.
//!
//! Declarations, comments, CDATA sections and processing instructions are refused as such: honest
//! providers send none, and each of them has been used to make two readers of one document disagree.

use uppsala::{Document, NodeId, NodeKind, Parser};

use super::error::SamlError;

/// Largest response or assertion, in bytes. A person in a thousand groups needs a tenth of it.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Largest metadata document, in bytes: one provider's, not a federation's.
pub const METADATA_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Deepest nesting of elements.
const DEPTH_MAX: u32 = 48;

/// A parsed document.
pub(crate) struct Tree<'a> {
    /// The parser's document; the signature is verified on this very one.
    pub(crate) document: Document<'a>,
    root: NodeId,
}

impl<'a> Tree<'a> {
    /// Parses `xml`, of at most `bytes_max`.
    ///
    /// # Errors
    /// [`SamlError::TooLarge`] and [`SamlError::Xml`].
    pub(crate) fn parse(xml: &'a str, bytes_max: usize) -> Result<Self, SamlError> {
        if xml.len() > bytes_max {
            return Err(SamlError::TooLarge { bytes: xml.len(), max: bytes_max });
        }
        refuse_markup_declarations(xml)?;
        let parser = Parser::new().with_forbid_dtd(true).with_max_depth(DEPTH_MAX);
        let document = parser.parse(xml).map_err(|error| SamlError::Xml(short(&error.to_string())))?;
        let root = document.document_element().ok_or_else(|| SamlError::Xml("it has no element".to_owned()))?;
        Ok(Self { document, root })
    }

    /// The document's one element.
    pub(crate) fn root(&self) -> NodeId {
        self.root
    }

    /// Whether `node` is the element of this name.
    pub(crate) fn is(&self, node: NodeId, namespace: &str, name: &str) -> bool {
        self.document.element(node).is_some_and(|element| element.matches_name_ns(namespace, name))
    }

    /// The child elements of `node`, in order.
    pub(crate) fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        self.document.children_iter(node).filter(|child| self.document.element(*child).is_some())
    }

    /// The child elements of this name, in order.
    pub(crate) fn named<'t>(
        &'t self,
        node: NodeId,
        namespace: &'t str,
        name: &'t str,
    ) -> impl Iterator<Item = NodeId> + 't {
        self.children(node).filter(move |child| self.is(*child, namespace, name))
    }

    /// The only child element of this name, or `None` where there is none.
    ///
    /// # Errors
    /// [`SamlError::Structure`] where there are several.
    pub(crate) fn only(
        &self,
        node: NodeId,
        namespace: &str,
        name: &'static str,
        what: &'static str,
    ) -> Result<Option<NodeId>, SamlError> {
        let mut named = self.named(node, namespace, name);
        let first = named.next();
        if named.next().is_some() {
            return Err(SamlError::Structure { what, reason: format!("it has more than one {name}") });
        }
        Ok(first)
    }

    /// Every element of this name in the whole document, however deep.
    pub(crate) fn everywhere<'t>(&'t self, namespace: &'t str, name: &'t str) -> impl Iterator<Item = NodeId> + 't {
        let all = std::iter::once(self.root).chain(self.document.descendants(self.root));
        all.filter(move |node| self.is(*node, namespace, name))
    }

    /// Every element in the whole document.
    pub(crate) fn elements(&self) -> impl Iterator<Item = NodeId> {
        let all = std::iter::once(self.root).chain(self.document.descendants(self.root));
        all.filter(|node| self.document.element(*node).is_some())
    }

    /// An attribute without a namespace.
    pub(crate) fn attribute(&self, node: NodeId, name: &str) -> Option<&str> {
        let element = self.document.element(node)?;
        let plain = |attribute: &&uppsala::Attribute<'_>| {
            attribute.name.namespace_uri.is_none() && attribute.name.local_name == name
        };
        element.attributes.iter().find(plain).map(|attribute| &*attribute.value)
    }

    /// The text of an element that holds nothing but text, trimmed; `None` where it holds elements.
    pub(crate) fn text(&self, node: NodeId) -> Option<String> {
        let mut text = String::new();
        for child in self.document.children_iter(node) {
            match self.document.node_kind(child) {
                Some(NodeKind::Text(part)) => text.push_str(part),
                _ => return None,
            }
        }
        Some(text.trim().to_owned())
    }

    /// The element that `node` stands in.
    pub(crate) fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.document.parent(node)
    }
}

/// Refuses everything that begins with `<!` or `<?`, but for the XML declaration at the very start.
/// In well-formed XML a `<` that is text is written `&lt;`, so this needs no parser to be exact.
fn refuse_markup_declarations(xml: &str) -> Result<(), SamlError> {
    let body = xml.strip_prefix('\u{feff}').unwrap_or(xml);
    let body = match body.strip_prefix("<?xml ") {
        Some(rest) => rest.split_once("?>").map_or(rest, |(_, body)| body),
        None => body,
    };
    if body.contains("<!") {
        return Err(SamlError::Xml("it has a DTD, a comment or a CDATA section".to_owned()));
    }
    if body.contains("<?") {
        return Err(SamlError::Xml("it has a processing instruction".to_owned()));
    }
    Ok(())
}

/// At most so much of a message or name as fits a log line; a parser's message may quote the document.
pub(crate) fn short(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(160).collect()
}
