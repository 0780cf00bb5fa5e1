// command_helpers.h - short ways to say what the tests of the command say all the time.
#pragma once
#include <string>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/scratch_dir.h"

namespace spillway::test {

std::vector<std::string> words_of(const std::string& line);  // at blanks; no quoting

// `spillway LINE`, with these variables ("A=1 B=2").
Command spillway_with(const std::string& line, const std::string& variables = "");
// The same where a word has a blank in it or is empty.
Command spillway_with_words(std::vector<std::string> words, std::vector<std::string> variables = {});
Command exm_with(const std::string& line, const std::string& variables = "");

// What the command, which runs `env`, shows of a variable: "" when it is not set.
std::string variable_seen(const std::string& name, const Command& command);

// The command ends with this status and one line on stderr, `spillway: ` and then text that has the parts of
// the pattern, between `*`, in this order.
void requires_refusal(const Command& command, int status, const std::string& pattern);

}  // namespace spillway::test
