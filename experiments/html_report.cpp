#include "experiments/html_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/files.h"
#include "experiments/plot.h"
#include "experiments/png.h"
#include "experiments/text.h"

namespace dw {
namespace {

constexpr std::string_view page_style = R"(:root {
  color-scheme: light dark;
  --page: #ffffff; --text: #1f2328; --quiet: #59636e; --rule: #d8dce0; --box: #f6f7f9; --marked: #fff6dd;
  --good: #0a6b4b; --good-box: #e6f4ee; --bad: #a33b00; --bad-box: #fdeee4; --neutral: #4a5560;
  --neutral-box: #eef0f3;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --text: #e6e8eb; --quiet: #a3abb5; --rule: #343a41; --box: #1b1f24; --marked: #332b12;
    --good: #5fd3ac; --good-box: #11291f; --bad: #ffab7a; --bad-box: #321d10; --neutral: #b8c0c9;
    --neutral-box: #22272d;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 46rem; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: break-word;
}
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 0.8rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 0.6rem; padding-bottom: 0.25rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 0 0 0.4rem; }
main > h3 { margin-top: 1.8rem; }
p { margin: 0.7rem 0; }
.lead { font-size: 1.15rem; }
nav { margin: 1rem 0; color: var(--quiet); }
nav a { color: inherit; margin-right: 1rem; white-space: nowrap; }
code, pre { font: 0.875em/1.5 ui-monospace, "DejaVu Sans Mono", monospace; background: var(--box); }
code { padding: 0.1em 0.3em; border-radius: 3px; }
pre { padding: 0.8rem 1rem; border-radius: 6px; overflow-x: auto; }
.verdict { display: flex; gap: 0.8rem; margin: 0.8rem 0; padding: 0.7rem 1rem; border-left: 4px solid; border-radius: 4px; }
.verdict > :first-child { width: 1em; text-align: center; }
.verdict strong { display: block; }
.verdict span { color: var(--text); }
.good { color: var(--good); background: var(--good-box); }
.bad { color: var(--bad); background: var(--bad-box); }
.neutral { color: var(--neutral); background: var(--neutral-box); }
figure { margin: 1.5rem 0; }
figcaption, caption { color: var(--quiet); font-size: 0.9rem; text-align: left; }
figcaption { margin-top: 0.4rem; }
caption { caption-side: bottom; padding-top: 0.4rem; }
.wide { overflow-x: auto; margin: 1.2rem 0; }
table { border-collapse: collapse; font-size: 0.93rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.9rem 0.3rem 0; text-align: left; vertical-align: top; }
th:last-child, td:last-child { padding-right: 0.3rem; }
th { font-weight: 600; border-bottom: 1px solid var(--text); vertical-align: bottom; }
td { border-bottom: 1px solid var(--rule); }
.n { text-align: right; }
td.n { white-space: nowrap; }
tr.marked td { background: var(--marked); font-weight: 600; }
.facts { margin: 1.5rem 0; padding: 0.9rem 1.1rem; background: var(--box); border-radius: 6px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1.2rem; margin: 0; font-size: 0.93rem; }
dt { color: var(--quiet); }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
.pictures { display: flex; flex-wrap: wrap; gap: 0.8rem; }
.pictures div { font-size: 0.8rem; line-height: 1.3; color: var(--quiet); }
.pictures img { display: block; height: auto; margin-bottom: 0.2rem; image-rendering: pixelated; border-radius: 3px; }
summary { cursor: pointer; color: var(--quiet); }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  figure, table, .verdict, .facts { break-inside: avoid; }
  h2 { break-after: avoid; }
  nav { display: none; }
}
)";

// Escaped, with `code` in backquotes as <code>; a backquote without a partner stays.
std::string inline_markup(std::string_view text) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const size_t open = text.find('`', at);
    const size_t close = open == text.npos ? text.npos : text.find('`', open + 1);
    if (close == text.npos) return result + escape_markup(text.substr(at));
    result += escape_markup(text.substr(at, open - at)) + "<code>" +
              escape_markup(text.substr(open + 1, close - open - 1)) + "</code>";
    at = close + 1;
  }
  return result;
}

std::string caption_element(std::string_view name, std::string_view caption) {
  return caption.empty() ? "" : fmt::format("<{0}>{1}</{0}>\n", name, inline_markup(caption));
}

std::string_view sign_of(Tone kind) {
  return kind == Tone::good ? "✓" : kind == Tone::bad ? "✗" : "•";
}

std::string_view class_of(Tone kind) {
  return kind == Tone::good ? "good" : kind == Tone::bad ? "bad" : "neutral";
}

}  // namespace

HtmlReport::HtmlReport(std::string_view title) : title_(escape_markup(title)) {}

void HtmlReport::lead(std::string_view text) {
  body_ += fmt::format("<p class=\"lead\">{}</p>\n", inline_markup(text));
}

void HtmlReport::verdict(Tone kind, std::string_view headline, std::string_view detail) {
  body_ += fmt::format(
      "<div class=\"verdict {}\"><div aria-hidden=\"true\">{}</div><div><strong>{}</strong>{}</div></div>\n",
      class_of(kind), sign_of(kind), inline_markup(headline),
      detail.empty() ? "" : "<span>" + inline_markup(detail) + "</span>");
}

void HtmlReport::section(std::string_view title) {
  if (sections_.empty()) opening_ = std::exchange(body_, {});
  sections_.push_back(escape_markup(title));
  body_ += fmt::format("<h2 id=\"section-{}\">{}</h2>\n", sections_.size(), sections_.back());
}

void HtmlReport::subsection(std::string_view title) {
  body_ += fmt::format("<h3>{}</h3>\n", escape_markup(title));
}

void HtmlReport::paragraph(std::string_view text) {
  body_ += fmt::format("<p>{}</p>\n", inline_markup(text));
}

void HtmlReport::code(std::string_view text) {
  body_ += fmt::format("<pre>{}</pre>\n", escape_markup(text));
}

void HtmlReport::table(const Table& table, std::string_view caption, std::span<const size_t> highlighted) {
  const auto cell = [&](std::string_view name, size_t column, const std::string& text) {
    return fmt::format("<{0}{1}{2}>{3}</{0}>", name, name == "th" ? " scope=\"col\"" : "",
                       table.is_numeric(column) ? " class=\"n\"" : "", inline_markup(text));
  };
  body_ += "<div class=\"wide\"><table>\n" + caption_element("caption", caption) + "<thead><tr>";
  for (size_t i = 0; i < table.header().size(); ++i) body_ += cell("th", i, table.header()[i]);
  body_ += "</tr></thead>\n<tbody>\n";
  for (size_t r = 0; r < table.rows().size(); ++r) {
    const bool marked = std::find(highlighted.begin(), highlighted.end(), r) != highlighted.end();
    body_ += marked ? "<tr class=\"marked\">" : "<tr>";
    for (size_t i = 0; i < table.header().size(); ++i) body_ += cell("td", i, table.rows()[r][i]);
    body_ += "</tr>\n";
  }
  body_ += "</tbody>\n</table></div>\n";
}

void HtmlReport::plot(std::string_view svg, std::string_view caption) {
  body_ += fmt::format("<figure>\n{}{}</figure>\n", svg, caption_element("figcaption", caption));
}

void HtmlReport::facts(std::string_view title, std::span<const std::pair<std::string, std::string>> facts) {
  body_ += fmt::format("<section class=\"facts\"><h3>{}</h3>\n<dl>\n", escape_markup(title));
  for (const auto& [label, value] : facts)
    body_ += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_markup(label), inline_markup(value));
  body_ += "</dl></section>\n";
}

void HtmlReport::pictures(std::span<const Picture> pictures, std::string_view caption, size_t pixels) {
  body_ += "<figure>\n<div class=\"pictures\">\n";
  for (const auto& picture : pictures)
    body_ += fmt::format(
        "<div style=\"width:{0}px\"><img width=\"{0}\" alt=\"{1}\" "
        "src=\"data:image/png;base64,{2}\">{3}</div>\n",
        pixels, escape_markup(picture.description), encode_base64(picture.png),
        inline_markup(picture.caption));
  body_ += "</div>\n" + caption_element("figcaption", caption) + "</figure>\n";
}

void HtmlReport::details(std::string_view title, std::string_view text) {
  body_ += fmt::format("<details><summary>{}</summary>\n<pre>{}</pre>\n</details>\n", escape_markup(title),
                       escape_markup(text));
}

std::string HtmlReport::html() const {
  std::string contents;
  if (sections_.size() >= 3) {
    contents = "<nav aria-label=\"Sections\">";
    for (size_t i = 0; i < sections_.size(); ++i)
      contents += fmt::format("<a href=\"#section-{}\">{}</a> ", i + 1, sections_[i]);
    contents += "</nav>\n";
  }
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         title_ + "</title>\n<style>\n" + std::string(page_style) + plot_stylesheet() +
         "</style>\n</head>\n<body>\n<main>\n<h1>" + title_ + "</h1>\n" + opening_ + contents + body_ +
         "</main>\n</body>\n</html>\n";
}

void HtmlReport::write(const std::filesystem::path& path) const {
  write_file_atomically(path, html());
}

}  // namespace dw
