// What a library was built from: the loader uses no other than the one of these sources.
#if !defined(EVO_SOURCE_HASH) || !defined(EVO_VARIANT)
#error "EVO_SOURCE_HASH and EVO_VARIANT are set by workers/engine/native/build.py: build with it."
#endif

#define EVO_PUBLIC __attribute__((visibility("default")))

extern "C" EVO_PUBLIC const char *evo_source_hash() { return EVO_SOURCE_HASH; }
extern "C" EVO_PUBLIC const char *evo_variant() { return EVO_VARIANT; }
