/* Loads the library into a process that has musl as its C library, as a Java on Alpine would, and calls JNI_OnLoad with
   a virtual machine that has no environment for this thread: the library must refuse, and not crash. Every symbol is
   bound first, so one that only glibc has would make the loading fail. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define JNI_ERR (-1)
#define FUNCTIONS 8 /* of JNIInvokeInterface: three reserved, and five */

static int calls;

static int refuse(void) {
    calls++;
    return JNI_ERR;
}

int main(int count, char **arguments) {
    void *library = count == 2 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library) {
        printf("not loaded: %s\n", count == 2 ? dlerror() : "usage: musl_loads <library>");
        return 1;
    }
    int (*on_load)(void *, void *) = (int (*)(void *, void *))dlsym(library, "JNI_OnLoad");
    if (!on_load) {
        printf("it has no JNI_OnLoad\n");
        return 1;
    }
    int (*table[FUNCTIONS])(void);
    for (int n = 0; n < FUNCTIONS; n++) {
        table[n] = refuse;
    }
    void *machine = table;
    int result = on_load(&machine, NULL);
    printf("JNI_OnLoad called the machine %d times, and returned %d\n", calls, result);
    return calls > 0 && result == JNI_ERR ? 0 : 1;
}
