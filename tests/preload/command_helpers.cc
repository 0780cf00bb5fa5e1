#include "tests/preload/command_helpers.h"

#include <fnmatch.h>

#include <sstream>
#include <utility>

namespace spillway::test {

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  std::istringstream stream(line);
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

Command spillway_with_words(std::vector<std::string> words, std::vector<std::string> variables) {
  words.insert(words.begin(), spillway_bin());
  return {.argv = std::move(words), .env = std::move(variables)};
}

Command spillway_with(const std::string& line, const std::string& variables) {
  return spillway_with_words(words_of(line), words_of(variables));
}

Command exm_with(const std::string& line, const std::string& variables) {
  Command command = spillway_with(line, variables);
  command.argv[0] = exm_bin();
  return command;
}

std::string variable_seen(const std::string& name, const Command& command) {
  const Outcome got = run(command);
  INFO(got.text());
  REQUIRE(got.exit_code == 0);
  const std::string lines = "\n" + got.out;
  const size_t at = lines.find("\n" + name + "=");
  if (at == std::string::npos) return "";
  const size_t begin = at + name.size() + 2;
  return lines.substr(begin, lines.find('\n', begin) - begin);
}

void requires_refusal(const Command& command, int status, const std::string& pattern) {
  const Outcome got = run(command);
  INFO("expected: " << pattern << "\n" << got.text());
  REQUIRE(got.exit_code == status);
  REQUIRE(got.out.empty());
  REQUIRE(got.err.find('\n') == got.err.size() - 1);
  REQUIRE(::fnmatch(("spillway: *" + pattern + "*\n").c_str(), got.err.c_str(), 0) == 0);
}

}  // namespace spillway::test
