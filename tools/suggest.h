// suggest.h - "did you mean": the word of a list that a mistyped word is nearest to.
#pragma once
#include <string>
#include <vector>

namespace spillway::tools {

// The nearest one, "" when none is within two letters inserted, left out, changed or swapped.
std::string nearest(const std::string& word, const std::vector<std::string>& known);

}  // namespace spillway::tools
