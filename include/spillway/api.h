/* api.h - what libspillway.so exports; everything else in it is hidden. */
#ifndef SPILLWAY_API_H
#define SPILLWAY_API_H

#define SPILLWAY_API __attribute__((visibility("default")))

#endif
