// Programs that compute: python3 with numpy, R, Octave, OpenMP. What they print is exact or rounded far above
// the last bit, because the order of additions may differ between two runs with threads.
#include "tests/support/catch.h"
#include "tests/support/needs.h"
#include "tests/support/paths.h"
#include "tests/support/real_program.h"
#include "tests/support/scratch_dir.h"

using namespace spillway::test;

namespace {

constexpr const char* kPython = "/usr/bin/python3";

bool needs_numpy() {
  if (!needs_file(kPython)) return false;
  if (run({.argv = {kPython, "-c", "import numpy"}}).exit_code == 0) return true;
  skip("needs numpy");
  return false;
}

void same_python(const std::string& program, size_t cap_bytes) {
  const std::string head =
      "import hashlib, numpy as np\nrng = np.random.default_rng(11)\n"
      "def show(a): print(a.shape, hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest())\n";
  same_under_spillway({.argv = {kPython, "-"}, .input = head + program}, cap_bytes);
}

void same_r(const std::string& program, size_t cap_bytes) {
  same_under_spillway({.argv = {"R", "--vanilla", "--slave"}, .input = program}, cap_bytes);
}

}  // namespace

TEST_CASE("objects of python3 spill, too, when the mappings of its allocator are captured") {
  if (!needs_file(kPython)) return;
  same_under_spillway({.argv = {kPython, "-"},
                       .input = "d = {i: float(i) for i in range(800000)}\n"
                                "d.update((i, d[i] / 2) for i in range(0, 800000, 7))\n"
                                "print(len(d), sum(d.values()))\n"},
                      72 * kMiB, {"--mmap"});
}
TEST_CASE("objects of python3 spill with --heap, whoever allocates them") {
  if (!needs_file(kPython)) return;
  same_under_spillway(
      {.argv = {kPython, "-"},
       .env = {"PYTHONMALLOC=malloc"},
       .input = "d = {i: str(i) * 3 for i in range(500000)}\n"
                "d.update((i, d[i] + '!') for i in range(0, 500000, 7))\n"
                "print(len(d), sum(map(len, d.values())), hash(tuple(map(len, d.values()))))\n"},
      56 * kMiB, {"--heap"});
}
TEST_CASE("numpy sorts several times the memory") {
  if (!needs_numpy()) return;
  same_python("a = rng.integers(0, 1 << 60, 12 << 20)\na.sort()\nshow(a)\nshow(np.cumsum(a[::-1]))\n",
              80 * kMiB);
}
TEST_CASE("numpy multiplies matrices that do not fit in memory") {
  if (!needs_numpy()) return;
  // Small integers in doubles: every order of additions gives the same exact sums.
  same_python(
      "a = rng.integers(-99, 99, (2000, 2000)).astype('f8')\nb = rng.integers(-99, 99, (2000, "
      "2000)).astype('f8')\n"
      "c = a @ b\nshow(c)\nshow(c @ a.T // 7)\n",
      112 * kMiB);
}
TEST_CASE("numpy indexes at random into an array larger than memory") {
  if (!needs_numpy()) return;
  same_python(
      "a = np.arange(16 << 20)\ni = rng.integers(0, a.size, 10000)\nprint(int(a[i].sum()))\n"
      "a[i] += 5\nshow(a)\nb = a.reshape(4096, 4096).T.copy()\nshow(b)\n",
      160 * kMiB);
}
TEST_CASE("numpy arrays grow, shrink and are shared with forked workers") {
  if (!needs_numpy()) return;
  same_python(
      "import multiprocessing as mp\na = rng.integers(0, 9, 12 << 20)\n"
      "def part(k):\n  a[k::4] *= 3\n  return int(a[k::4].sum())\n"
      "with mp.get_context('fork').Pool(4) as pool: print(pool.map(part, range(4)))\n"
      "show(a)\nl = bytearray()\nfor k in range(40): l += bytes([k]) * (1 << "
      "20)\nprint(hashlib.sha256(l).hexdigest())\n",
      0);
}

TEST_CASE("R works on matrices larger than memory") {
  if (!needs_program("R")) return;
  same_r(
      "set.seed(3); x <- matrix(runif(12e6), ncol = 200)\n"
      "cat(dim(x), sprintf('%.6f', sum(x)), sprintf('%.6f', sum(colMeans(x)^2)), '\\n')\n"
      "y <- x + 1; x[5, ] <- 0; cat(sprintf('%.6f', sum(y - x)), '\\n')\n",
      128 * kMiB);
}
TEST_CASE("R decomposes a matrix with qr") {
  if (!needs_program("R")) return;
  same_r(
      "set.seed(4); x <- matrix(runif(3e6), ncol = 150); q <- qr(x)\n"
      "cat(q$rank, sprintf('%.6f', abs(sum(diag(qr.R(q))))), '\\n')\n"
      "b <- qr.coef(q, x %*% seq_len(150)); cat(sprintf('%.5f', sum(b)), '\\n')\n"
      "l <- qr(x, LAPACK = TRUE); cat(sprintf('%.5f', sum(abs(diag(qr.R(l))))), '\\n')\n",
      112 * kMiB);
}
TEST_CASE("R sorts a vector larger than memory") {
  if (!needs_program("R")) return;
  same_r(
      "set.seed(5); x <- runif(4e6); s <- sort(x); cat(is.unsorted(s), sprintf('%.8f', s[c(1, 2e6, 4e6)]), "
      "'\\n')\n"
      "o <- order(x[1:1e6]); cat(sum(as.numeric(o) * (seq_along(o) %% 7)), '\\n')\n",
      96 * kMiB);
}
TEST_CASE("R's parallel::mclapply gives workers a snapshot and takes their results") {
  if (!needs_program("R")) return;
  same_r(
      "library(parallel); set.seed(6); x <- runif(4e6)\n"
      "r <- mclapply(1:6, function(k) { x[k] <<- 100 * k; y <- x * k; sum(y > k / 2) }, mc.cores = 3)\n"
      "cat(unlist(r), sprintf('%.8f', x[1:6]), '\\n')\n",
      0);
}
TEST_CASE("Octave solves, sorts and transforms") {
  if (!needs_program("octave-cli")) return;
  // Octave's notes about the display go to stderr either way.
  same_under_spillway(
      {.argv = {"octave-cli", "--no-gui", "--norc", "--quiet", "--eval",
                "n = 900; A = reshape(mod((1:n*n) * 7919, 104729), n, n); printf('%d\\n', sum((A * A)(:)));"
                "x = (A + n * 1e5 * eye(n)) \\ ones(n, 1); printf('%.8e\\n', sum(x));"
                "s = sort(A(:)); printf('%d %d\\n', s(1000), s(end));"
                "f = real(ifft(fft(A(:)))); printf('%d\\n', round(max(abs(f - A(:)))))"}},
      144 * kMiB);
}
TEST_CASE("a program with OpenMP threads computes the same") {
  if (!needs_program("g++")) return;
  ScratchDir dir;
  const Outcome built =
      run({.argv = {"g++", "-O2", "-fopenmp", source_dir() + "/tests/real/programs/openmp_sweeps.cc", "-o",
                    dir / "openmp_sweeps"}});
  INFO(built.text());
  REQUIRE(built.exit_code == 0);
  same_under_spillway({.argv = {dir / "openmp_sweeps"}, .env = {"OMP_NUM_THREADS=4"}}, 64 * kMiB);
}
