// r_package_test.cc - the R package `exm`: R's own check of it, and its functions in an R that runs under
// exm.
#include <string>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/scratch_dir.h"

using namespace spillway::test;

namespace {

// A directory with the package's source archive, in which R keeps its temporary files and libraries too.
struct Workshop {
  ScratchDir dir;
  std::string archive = "exm_0.1.0.tar.gz", library = dir / "library";

  Workshop() {
    const Outcome built = in_r({"R", "CMD", "build", source_dir() + "/bindings/r"});
    INFO(built.text());
    REQUIRE(built.exit_code == 0);
  }

  // TMPDIR keeps what R leaves behind inside the scratch directory; the repositories keep R off the network.
  Outcome in_r(const std::vector<std::string>& argv, const std::string& backing = "auto") const {
    return run({.argv = argv,
                .env = {"SPILLWAY_BACKING=" + backing, "TMPDIR=" + dir.path(), "R_LIBS=" + library,
                        "LC_ALL=C.UTF-8", "_R_CHECK_XREFS_REPOSITORIES_=file:///nonexistent"},
                .dir = dir.path(),
                .timeout = std::chrono::seconds(240)});
  }

  void install() const {
    REQUIRE(run({.argv = {"mkdir", library}}).exit_code == 0);
    const Outcome installed = in_r({"R", "CMD", "INSTALL", "--library=" + library, archive});
    INFO(installed.text());
    REQUIRE(installed.exit_code == 0);
  }
};

// R's verdict, the last line that begins so: "Status: OK", "Status: 1 NOTE", "Status: 1 WARNING, 2 NOTEs".
std::string status_line(const std::string& text) {
  const size_t at = text.rfind("Status: ");
  return at == text.npos ? "" : text.substr(at, text.find('\n', at) - at);
}

void must_be_clean(const Outcome& checked) {
  INFO(checked.text());
  CHECK(checked.exit_code == 0);
  const std::string status = status_line(checked.out);
  CHECK_THAT(status, Catch::StartsWith("Status: "));
  CHECK_THAT(status, !Catch::Contains("ERROR") && !Catch::Contains("WARNING"));
}

}  // namespace

TEST_CASE("R CMD check of the R package finds nothing wrong in a plain R") {
  if (!needs_program("R")) return;
  const Workshop workshop;
  must_be_clean(workshop.in_r({"R", "CMD", "check", "--no-manual", workshop.archive}));
  CHECK_THAT(workshop.dir.read("exm.Rcheck/tests/under_preload.Rout"), Catch::Contains("\nSKIPPED: "));
  CHECK_THAT(workshop.dir.read("exm.Rcheck/tests/without_preload.Rout"), !Catch::Contains("\nSKIPPED: "));
}

TEST_CASE("R CMD check of the R package finds nothing wrong under exm, where its tests exercise everything") {
  if (!needs_program("R")) return;
  const Workshop workshop;
  const std::string backing = GENERATE("auto", "file");
  must_be_clean(workshop.in_r({exm_bin(), "R", "CMD", "check", "--no-manual", workshop.archive}, backing));
  const std::string tested = workshop.dir.read("exm.Rcheck/tests/under_preload.Rout");
  INFO(tested);
  CHECK_THAT(tested, Catch::Contains("library(exm)") && !Catch::Contains("\nSKIPPED: "));
}

TEST_CASE("an R script under exm sets, reads and looks up what the package offers") {
  if (!needs_program("R")) return;
  const Workshop workshop;
  workshop.install();
  workshop.dir.write("script.R", R"(
    library(exm)
    cat("version", exm_version(), "\n")
    cat("threshold", exm_threshold("16M"), "\n")
    cat("path", exm_path() == Sys.getenv("TMPDIR"), "\n")
    cat("mode", exm_cow("duplicate"), exm_cow(), "\n")
    x <- seq_len(4e6) / 2                         # 32 MB: above
    y <- seq_len(1e6) / 2                         # 8 MB: below
    file <- exm_lookup(x)
    cat("above", is.null(file) || file.size(file) >= 32e6,
        is.null(file) || startsWith(Sys.readlink(file), exm_path()), "\n")
    cat("below", is.null(exm_lookup(y)), "\n")
    cat("advice", exm_madvise(x, "sequential"), sum(x) == 4000001000000, "\n")
  )");
  const std::string backing = GENERATE("auto", "file");
  const Outcome got = workshop.in_r({exm_bin(), "R", "--no-echo", "--no-save", "--file=script.R"}, backing);
  INFO(got.text());
  CHECK(got.exit_code == 0);
  CHECK(got.err == "");
  CHECK(got.out ==
        "version 0.1 \nthreshold 16777216 \npath TRUE \nmode duplicate copy on write \nabove TRUE TRUE \n"
        "below TRUE \nadvice TRUE TRUE \n");
}

TEST_CASE("the R package in a plain R loads, and its functions say how to start R") {
  if (!needs_program("R")) return;
  const Workshop workshop;
  workshop.install();
  const Outcome present = workshop.in_r({"Rscript", "-e", "library(exm); cat(exm_present())"});
  INFO(present.text());
  CHECK(present.exit_code == 0);
  CHECK(present.out == "FALSE");

  const Outcome refused = workshop.in_r({"Rscript", "-e", "library(exm); exm_threshold(\"64M\")"});
  INFO(refused.text());
  CHECK(refused.exit_code == 1);
  CHECK_THAT(refused.err, Catch::Contains("start R with `exm R` or `spillway run R`"));
}
