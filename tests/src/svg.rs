//! The frame of a picture in SVG. Colours are readable on white and on black; the background is the page's.

/// The width of a picture, and its left and right margins, in pixels.
pub(crate) const WIDTH: f64 = 760.0;
/// See [`WIDTH`].
pub(crate) const LEFT: f64 = 64.0;
/// See [`WIDTH`].
pub(crate) const RIGHT: f64 = 24.0;

/// Texts and axes.
pub(crate) const INK: &str = "#7d8590";
/// What was measured.
pub(crate) const DATA: &str = "#3b82c4";

/// A picture of this height in pixels, with a title at its top.
pub(crate) fn document(title: &str, height: f64, content: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\" fill=\"{INK}\">\n\
         <title>{title}</title>\n<text x=\"{LEFT}\" y=\"28\" font-size=\"16\" font-weight=\"bold\">{title}</text>\n\
         {content}</svg>\n",
        title = escaped(title),
    )
}

/// Escapes text for XML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
