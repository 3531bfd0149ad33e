/* ProcessPrng, which Rust's standard library imports: Windows 10 has it, wine 8 has not. By SystemFunction036, that is
   RtlGenRandom. Only for tests under wine. */
#include <stddef.h>

__declspec(dllimport) unsigned char __stdcall SystemFunction036(void *buffer, unsigned long length);

__declspec(dllexport) int __stdcall ProcessPrng(unsigned char *data, size_t size) {
    return SystemFunction036(data, (unsigned long)size);
}

int __stdcall DllMainCRTStartup(void *module, unsigned long reason, void *reserved) {
    return 1;
}
