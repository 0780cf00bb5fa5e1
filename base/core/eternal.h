// eternal.h - an object of static storage that is never destroyed: threads use it until the process is gone,
// after exit handlers have run.
//
//   extern constinit Eternal<Pager> the_pager;
//   inline constexpr Pager& pager = the_pager.object;
#pragma once

namespace spillway {

template <typename T>
union Eternal {
  constexpr Eternal() : object() {}
  ~Eternal() {}
  T object;
};

}  // namespace spillway
