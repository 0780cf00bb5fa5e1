#include "base/os/shared_budget.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "tests/support/catch.h"
#include "tests/support/scratch_dir.h"
#include "tests/support/wait.h"

using namespace spillway;
using namespace spillway::os;
using spillway::test::ScratchDir;

namespace {
// Shares are rounded down, once in each round of the division.
bool about(uint64_t share, uint64_t expected) { return share <= expected && share + 4 >= expected; }
}  // namespace

TEST_CASE(
    "a budget is divided by weight, nobody gets more than wanted while others lack, minimums come first") {
  uint64_t shares[4];
  const BudgetClaim two[] = {{1000, 0, 1}, {1000, 0, 3}};
  divide_budget(400, two, shares, 2);
  REQUIRE((about(shares[0], 100) && about(shares[1], 300)));
  const BudgetClaim modest[] = {{50, 0, 1}, {1000, 0, 1}, {1000, 0, 1}};
  divide_budget(650, modest, shares, 3);
  REQUIRE((about(shares[0], 50) && about(shares[1], 300) && about(shares[2], 300)));
  const BudgetClaim minimum[] = {{1000, 300, 1}, {1000, 0, 1}};
  divide_budget(400, minimum, shares, 2);
  REQUIRE((about(shares[0], 350) && about(shares[1], 50)));
  const BudgetClaim too_much[] = {{1000, 300, 1}, {1000, 900, 1}};
  divide_budget(400, too_much, shares, 2);
  REQUIRE((about(shares[0], 100) && about(shares[1], 300)));
  const BudgetClaim all_content[] = {{100, 0, 1}, {100, 0, 1}};
  divide_budget(400, all_content, shares, 2);
  REQUIRE((about(shares[0], 200) && about(shares[1], 200)));
  const BudgetClaim nobody[] = {{100, 100, 0}};
  divide_budget(400, nobody, shares, 1);
  REQUIRE(about(shares[0], 0));
}

TEST_CASE(
    "programs share the budget as long as a daemon keeps it, and who is killed leaves his share to others") {
  ScratchDir dir;
  const std::string path = dir / "budget";
  SharedBudget mine;
  REQUIRE(mine.join(path.c_str(), 1, 0) == ENOENT);  // no daemon
  REQUIRE(mine.share(1000) == UINT64_MAX);
  {
    SharedBudget daemon;
    REQUIRE(daemon.serve(path.c_str()).ok());
    daemon.set_total(900);
    REQUIRE(mine.join(path.c_str(), 1, 0).ok());
    REQUIRE(mine.share(1000) == 900);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
      mine.forget();
      SharedBudget other;
      const bool good = other.join(path.c_str(), 2, 0).ok() && other.share(1000) == 600;
      (void)!::write(ends[1], good ? "y" : "n", 1);
      while (true) ::pause();
    }
    char answer = 0;
    REQUIRE(::read(ends[0], &answer, 1) == 1);
    REQUIRE(answer == 'y');
    REQUIRE(mine.share(1000) == 300);
    REQUIRE(daemon.sweep() == 2);
    ::kill(child, SIGKILL);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    REQUIRE(daemon.sweep() == 1);
    REQUIRE(mine.share(1000) == 900);
    ::close(ends[0]), ::close(ends[1]);
  }
  REQUIRE(mine.share(1000) == UINT64_MAX);  // the daemon has ended
}
