(ns httpkit.natives
  "All native methods, walked by reflection."
  (:require [clojure.test :refer [is]])
  (:import (java.lang.reflect InvocationTargetException Method Modifier Proxy)
           (org.httpkit.jni Abi Native NativeClient ServerUpcalls)))

(set! *warn-on-reflection* true)

(defn methods-of-native
  "Every native method, by name."
  []
  (sort-by #(.getName ^Method %)
           (filter #(Modifier/isNative (.getModifiers ^Method %)) (mapcat #(.getDeclaredMethods ^Class %) [Native NativeClient]))))

(def ^:private upcalls
  (Proxy/newProxyInstance (.getClassLoader ServerUpcalls) (into-array Class [ServerUpcalls])
                          (reify java.lang.reflect.InvocationHandler (invoke [_ _ _ _] nil))))

(defn open-server
  "The handle of a server with these options of the core, {name number}."
  [options]
  (Native/serverOpen upcalls Abi/ADDRESS_INET (byte-array [127 0 0 1]) 0
                     (into-array String (keys options)) (long-array (vals options)) nil))

(def ^:private own-arguments
  "For methods that open something: what they need to succeed."
  {"serverOpen" #(object-array [upcalls (int Abi/ADDRESS_INET) (byte-array [127 0 0 1]) (int 0)
                                (into-array String ["backlog"]) (long-array [5]) nil])
   "clientOpen" #(object-array [10 10 nil])})

(defn- object-array-of [^String component items]
  (into-array (Class/forName component) items))

(defn- argument [handle ^Class type]
  (condp = type
    Long/TYPE        handle
    Integer/TYPE     (int 1)
    Boolean/TYPE     false
    (Class/forName "[B") (byte-array 16)
    (Class/forName "[[B") (object-array-of "[B" [(byte-array 16)])
    (Class/forName "[[[B") (object-array-of "[[B" [(object-array-of "[B" [(byte-array 16)])])
    (Class/forName "[J") (long-array 32)))

(defn arguments
  "Arguments for a method, every handle among them `handle`."
  [^Method method handle]
  (if-let [own (own-arguments (.getName method))]
    (own)
    (object-array (map #(argument handle %) (.getParameterTypes method)))))

(def ^:private releasers
  {"serverOpen" #(Native/serverFree %), "decoderOpen" #(NativeClient/decoderClose %), "clientOpen" (fn [client]
                  (NativeClient/clientStop client)
                  ;; A stopped client's loop ends at once, and gives the client up.
                  (NativeClient/clientRun client))})

(defn call
  "Calls a method; [:returned value] or [:thrown throwable]. What it opened is released."
  [^Method method handle]
  (try
    (let [value (.invoke method nil (arguments method handle))]
      (when-let [release (releasers (.getName method))]
        (release value))
      [:returned value])
    (catch InvocationTargetException e
      [:thrown (.getCause e)])))

(defn call-in-time
  "As `call`, on a thread of its own; `:hangs` after 10 seconds. `before` runs on that thread first."
  [before method handle]
  (deref (future (before) (call method handle)) 10000 :hangs))

(defn check-there-are-methods [methods]
  (is (< 30 (count methods)) "reflection found the native methods"))
