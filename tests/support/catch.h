// catch.h - Catch2 beside base/core/check.h: both have a CHECK, and in a test Catch2's is meant.
#pragma once
#include "base/core/intrusive_list.h"  // these use the other one
#include "base/core/result.h"
#undef CHECK
#include <catch2/catch.hpp>
