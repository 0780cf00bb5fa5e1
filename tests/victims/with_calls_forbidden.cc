// with_calls_forbidden ERROR CALL[,CALL...] PROGRAM ARGS...: runs the program as in a container or service
// whose seccomp filter answers these system calls (by number) with that error (by number).
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: with_calls_forbidden ERROR CALL[,CALL...] PROGRAM ARGS...\n");
    return 2;
  }
  const auto error = static_cast<unsigned>(std::atoi(argv[1]));
  std::vector<sock_filter> filter = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (char* at = argv[2]; *at != '\0';) {
    const auto call = static_cast<unsigned>(std::strtoul(at, &at, 10));
    if (*at == ',') ++at;
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    std::perror("seccomp");
    return 77;
  }
  execv(argv[3], argv + 3);
  std::perror(argv[3]);
  return 2;
}
