// What the library shows to the outside.
#pragma once

#define EVO_API extern "C" __attribute__((visibility("default")))
