// The two ways the doctor's findings are written; the only file that needs the JSON library.
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "spillway/version.h"
#include "tools/doctor.h"
#include "tools/settings.h"

namespace spillway::tools {
namespace {

struct Mark {
  const char* word;
  const char* colour;
};
constexpr std::array<Mark, 4> kMarks = {
    {{"ok", "\033[32m"}, {"note", "\033[36m"}, {"warn", "\033[33m"}, {"fail", "\033[31m"}}};

const Mark& mark_of(const Finding& finding) { return kMarks[static_cast<size_t>(finding.status)]; }

size_t count(const std::vector<Finding>& findings, Finding::Status status) {
  return static_cast<size_t>(
      std::count_if(findings.begin(), findings.end(), [=](const Finding& f) { return f.status == status; }));
}

// https://no-color.org: set and not empty.
bool use_colour() {
  return ::isatty(STDOUT_FILENO) && environment_variable("NO_COLOR").empty() &&
         environment_variable("TERM") != "dumb";
}

const char* verdict(const std::vector<Finding>& findings) {
  if (count(findings, Finding::Status::kFail) > 0) return "Programs cannot spill here.";
  if (count(findings, Finding::Status::kWarn) > 0) return "Programs can spill here, at a price.";
  return "Programs can spill here.";
}

}  // namespace

void print_for_people(const std::vector<Finding>& findings) {
  const bool colour = use_colour();
  size_t width = 0;
  for (const Finding& finding : findings) width = std::max(width, finding.name.size());
  for (const Finding& finding : findings) {
    const Mark& mark = mark_of(finding);
    fmt::print("{}{:<4}{}  {:<{}}  {}\n", colour ? mark.colour : "", mark.word, colour ? "\033[0m" : "",
               finding.name, width, finding.value);
    if (!finding.cost.empty()) fmt::print("{:<{}}costs: {}\n", "", width + 8, finding.cost);
    if (!finding.remedy.empty()) fmt::print("{:<{}}mend:  {}\n", "", width + 8, finding.remedy);
  }
  fmt::print("\n{}\n", verdict(findings));
}

void print_json(const std::vector<Finding>& findings) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  auto text_or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(text);
  };
  for (const Finding& finding : findings)
    list.push_back({{"name", finding.name},
                    {"status", mark_of(finding).word},
                    {"value", finding.value},
                    {"cost", text_or_null(finding.cost)},
                    {"remedy", text_or_null(finding.remedy)}});
  nlohmann::ordered_json summary = {{"usable", count(findings, Finding::Status::kFail) == 0},
                                    {"text", verdict(findings)}};
  for (size_t status = 0; status < kMarks.size(); ++status)
    summary[kMarks[status].word] = count(findings, static_cast<Finding::Status>(status));
  const nlohmann::ordered_json report = {
      {"version", SPILLWAY_VERSION_STRING}, {"findings", list}, {"summary", summary}};
  // Paths need not be UTF-8; JSON must be.
  fmt::print("{}\n", report.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace spillway::tools
