// catch.h - Catch2 beside base/core/check.h: both have a CHECK, and here Catch2's is meant. Include it last.
#pragma once
#undef CHECK
#include <catch2/catch.hpp>
