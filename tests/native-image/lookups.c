/*
 * A JVMTI agent that writes down which classes, methods and fields our native library looks up through JNI: what
 * GraalVM's native-image has to be told. Others in the process, such as the JDK's own libraries, are left out.
 *
 * java -agentpath:.../liblookups.so=<file>   one line for each: "class <name>" or "<kind> <class> <name> <signature>"
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <jvmti.h>
#include <stdio.h>
#include <string.h>

static struct JNINativeInterface_ original;
static FILE *out;

/* Whether the code at an address is that of our library. */
static int ours(void *address) {
    Dl_info found;
    return dladdr(address, &found) && found.dli_fname && strstr(found.dli_fname, "httpkit");
}

static void member(JNIEnv *env, const char *kind, jclass class, const char *name, const char *signature) {
    jclass of_class = original.GetObjectClass(env, class);
    jmethodID get_name = original.GetMethodID(env, of_class, "getName", "()Ljava/lang/String;");
    jstring text = original.CallObjectMethod(env, class, get_name);
    const char *chars = original.GetStringUTFChars(env, text, NULL);
    fprintf(out, "%s %s %s %s\n", kind, chars, name, signature);
    original.ReleaseStringUTFChars(env, text, chars);
    original.DeleteLocalRef(env, text);
    original.DeleteLocalRef(env, of_class);
}

static jclass JNICALL find_class(JNIEnv *env, const char *name) {
    if (ours(__builtin_return_address(0))) {
        fprintf(out, "class %s\n", name);
    }
    return original.FindClass(env, name);
}

#define LOOKS_UP(function, kind, original_function, type)                                                              \
    static type JNICALL function(JNIEnv *env, jclass class, const char *name, const char *signature) {                \
        if (ours(__builtin_return_address(0))) {                                                                      \
            member(env, kind, class, name, signature);                                                                \
        }                                                                                                             \
        return original.original_function(env, class, name, signature);                                              \
    }

LOOKS_UP(get_method, "method", GetMethodID, jmethodID)
LOOKS_UP(get_static_method, "method", GetStaticMethodID, jmethodID)
LOOKS_UP(get_field, "field", GetFieldID, jfieldID)
LOOKS_UP(get_static_field, "field", GetStaticFieldID, jfieldID)

static void JNICALL on_start(jvmtiEnv *jvmti, JNIEnv *env, jthread thread) {
    struct JNINativeInterface_ *table;
    (void)env;
    (void)thread;
    if ((*jvmti)->GetJNIFunctionTable(jvmti, &table) != JVMTI_ERROR_NONE) {
        return;
    }
    original = *table;
    table->FindClass = find_class;
    table->GetMethodID = get_method;
    table->GetStaticMethodID = get_static_method;
    table->GetFieldID = get_field;
    table->GetStaticFieldID = get_static_field;
    (*jvmti)->SetJNIFunctionTable(jvmti, table);
    (*jvmti)->Deallocate(jvmti, (unsigned char *)table);
}

JNIEXPORT jint JNICALL Agent_OnLoad(JavaVM *vm, char *options, void *reserved) {
    jvmtiEnv *jvmti;
    jvmtiEventCallbacks callbacks = {.VMInit = on_start};
    (void)reserved;
    if ((*vm)->GetEnv(vm, (void **)&jvmti, JVMTI_VERSION_11) != JNI_OK || !(out = fopen(options, "w"))) {
        return JNI_ERR;
    }
    setvbuf(out, NULL, _IOLBF, BUFSIZ);
    (*jvmti)->SetEventCallbacks(jvmti, &callbacks, sizeof callbacks);
    return (*jvmti)->SetEventNotificationMode(jvmti, JVMTI_ENABLE, JVMTI_EVENT_VM_INIT, NULL) == JVMTI_ERROR_NONE
               ? JNI_OK
               : JNI_ERR;
}
