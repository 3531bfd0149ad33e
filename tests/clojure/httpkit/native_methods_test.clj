(ns httpkit.native-methods-test
  "Every native method can be called, with whatever handle, and does what Native's text says of stale ones."
  (:require [clojure.test        :refer [deftest is testing]]
            [httpkit.natives     :as natives]
            [httpkit.wire        :as wire]
            [org.httpkit.options.server :as server-options])
  (:import (java.lang.reflect Method)
           (org.httpkit.jni Abi Native)))

(set! *warn-on-reflection* true)

(defn- stale-handle
  "A handle that was a server's once."
  []
  (let [server (wire/start (constantly nil) {})
        field  (doto (.getDeclaredField org.httpkit.server.HttpServer "handle") (.setAccessible true))
        handle (.get field (:server server))]
    (wire/stop server)
    handle))

(deftest every-native-method-is-registered-and-takes-stale-handles
  (let [methods (natives/methods-of-native)
        stale   (stale-handle)
        before  (Native/liveHandles)]
    (natives/check-there-are-methods methods)
    (doseq [^Method method methods
            handle         [stale 0 -1 Long/MAX_VALUE Long/MIN_VALUE 1]]
      (testing (str (.getName method) " of handle " handle)
        (let [[outcome thrown :as result] (natives/call-in-time (fn []) method handle)]
          (is (not= :hangs result))
          (when (= :thrown outcome)
            (is (not (instance? LinkageError thrown)) (str thrown))
            (is (instance? Exception thrown) (str thrown))
            (is (not (re-find #"bug in the native library" (str thrown))) (str thrown))))))
    (is (wire/eventually #(= before (Native/liveHandles))) "nothing was left open")))

(deftest null-arrays-and-absurd-sizes-are-exceptions
  (let [before (Native/liveHandles)]
    (wire/with-server [{:keys [port]}
                       (fn [{:keys [async-channel]}]
                         (let [getter (doto (.getDeclaredMethod org.httpkit.server.AsyncChannel "handle"
                                                                (make-array Class 0))
                                        (.setAccessible true))
                               handle (long (.invoke getter async-channel (object-array 0)))]
                           {:status 200
                            :body
                            (pr-str
                              (for [f [#(Native/respond handle 200 0 -1 nil 10 0 nil 0 0)
                                       #(Native/respond handle 200 0 -1 (byte-array 4) 10 10 nil 0 0)
                                       #(Native/respond handle 200 0 -1 (byte-array 4) -1 0 nil 0 0)
                                       #(Native/respond handle 200 0 -1 (byte-array 4) Integer/MAX_VALUE Integer/MAX_VALUE
                                                       nil 0 0)
                                       #(Native/respond handle 99999 0 -1 (byte-array 4) 0 0 nil 0 0)
                                       #(Native/respondFile handle 200 0 (byte-array 4) 0 nil 0 -1)
                                       #(Native/respondFile handle 200 0 (byte-array 4) 0 (.getBytes "/no/such/file") 0 -1)
                                       #(Native/respondFile handle 200 0 (byte-array 4) 10 (.getBytes "/etc/passwd") 0 -1)
                                       #(Native/respondFile handle 200 0 (byte-array 4) -1 (.getBytes "/etc/passwd") 0 -1)
                                       #(Native/respondFile handle 7 0 (byte-array 4) 0 (.getBytes "/etc/passwd") 0 -1)
                                       #(Native/respondEncoded handle nil 0 10 0 0)
                                       #(Native/respondEncoded handle (byte-array 4) 0 4 0 0)
                                       #(Native/respondEncoded handle (byte-array 4) 2 10 0 0)
                                       #(Native/respondEncoded handle (byte-array 4) 0 4 -1 0)
                                       #(Native/stream handle -5 0 (byte-array 4) 0 nil 0 0)
                                       #(Native/stream handle 200 0 (byte-array 4) 0 (byte-array 4) 3 10)
                                       #(Native/upgrade handle nil 5 0 0 0)
                                       #(Native/upgrade handle (byte-array 4) 50 0 0 0)
                                       #(Native/sendFrame handle 99 (byte-array 1) 0 1 0 0)
                                       #(Native/broadcast (long-array [handle 0]) 8 (byte-array 1) 0 1)
                                       #(Native/broadcast (long-array [handle 0]) 0 (byte-array 1) 0 2)
                                       #(Native/broadcast (long-array [handle 0]) 0 nil 0 1)
                                       #(Native/broadcast (long-array 3) 0 (byte-array 1) 0 1)
                                       #(Native/broadcast nil 0 (byte-array 1) 0 1)]]
                                (try (f) :no-exception
                                     (catch UnsatisfiedLinkError _ :link-error)
                                     (catch Exception _ :exception))))}))
                       {}]
      (is (= (repeat 24 :exception) (read-string (:body (wire/fetch port "/")))) "and the exchange still answers")
      (is (= 200 (:status (wire/fetch port "/")))))
    (is (wire/eventually #(= before (Native/liveHandles))))))

(deftest every-option-that-is-passed-down-by-name-is-one-of-the-core
  (let [passed-down (filter #(:core (meta (server-options/server %))) (keys server-options/server))]
    (is (< 5 (count passed-down)))
    (doseq [k passed-down]
      (Native/serverFree (natives/open-server {(name k) 1})))))

(deftest a-name-or-value-that-the-core-does-not-know-fails-and-is-named
  (let [before (Native/liveHandles)]
    (is (thrown-with-msg? IllegalArgumentException #"max-bodies is no option of a server"
                          (natives/open-server {"max-bodies" 1})))
    (is (thrown-with-msg? IllegalArgumentException #"option proxy-protocol cannot be 7"
                          (natives/open-server {"backlog" 5 "proxy-protocol" 7})))
    (doseq [[names values] [[nil (long-array 1)]
                            [(into-array String ["backlog"]) nil]
                            [(into-array String ["backlog"]) (long-array 0)]
                            [(into-array String [nil]) (long-array 1)]]]
      (is (thrown? Exception (Native/serverOpen nil Abi/ADDRESS_INET (byte-array 4) 0 names values nil))))
    (is (= before (Native/liveHandles)))))
