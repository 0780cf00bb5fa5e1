/* version.h - the version of Spillway these headers belong to. */
#ifndef SPILLWAY_VERSION_H
#define SPILLWAY_VERSION_H

#define SPILLWAY_VERSION_MAJOR 0
#define SPILLWAY_VERSION_MINOR 1
#define SPILLWAY_VERSION_PATCH 0
#define SPILLWAY_VERSION_STRING "0.1.0"

#endif
