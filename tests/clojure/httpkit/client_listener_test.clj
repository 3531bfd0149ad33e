(ns httpkit.client-listener-test
  "What `RespListener` makes of a response: driven by hand, no network here."
  (:require [clojure.string :as str]
            [clojure.test :refer [are deftest is testing]])
  (:import [java.io ByteArrayOutputStream PrintStream]
           [java.util Map]
           [java.util.concurrent AbstractExecutorService ExecutorService RejectedExecutionException TimeUnit]
           [org.httpkit BytesInputStream DynamicBytes HttpStatus HttpVersion]
           [org.httpkit.client AbortException IFilter IFilter$MaxBodyFilter IResponseHandler RespListener]))

(def ^:private ^ExecutorService inline
  (proxy [AbstractExecutorService] []
    (execute [^Runnable r] (.run r))
    (shutdown [])
    (shutdownNow [] [])
    (isShutdown [] false)
    (isTerminated [] false)
    (awaitTermination [^long _ ^TimeUnit _] true)))

(def ^:private ^ExecutorService rejecting
  (proxy [AbstractExecutorService] []
    (execute [_] (throw (RejectedExecutionException. "full")))))

(defn- listener [outcome filter pool coercion]
  (RespListener. (reify IResponseHandler
                   (onSuccess [_ status headers body] (swap! outcome conj [status headers body]))
                   (onThrowable [_ t] (swap! outcome conj t)))
                 filter pool (int coercion)))

(defn- play
  "Status, headers and body that a handler gets for the bytes."
  ([coercion status headers body] (play coercion status headers body nil))
  ([coercion status headers ^bytes body filter]
   (let [outcome (atom [])
         l       ^RespListener (listener outcome filter inline coercion)]
     (.onInitialLineReceived l HttpVersion/HTTP_1_1 (HttpStatus/valueOf (int status)))
     (.onHeadersReceived l headers)
     (when (pos? (alength body))
       (.onBodyReceived l body (alength body)))
     (.onCompleted l)
     (is (= 1 (count @outcome)))
     (first @outcome))))

(defn- body-of [coercion status type ^String body]
  (let [[_ _ body] (play coercion status (if type {"content-type" type} {}) (.getBytes body "ISO-8859-1"))]
    body))

(deftest auto-is-text-by-status-and-type
  (are [status type] (instance? String (body-of 1 status type "ok"))
    200 "text/html"
    200 "TEXT/CSV"
    200 "application/json"
    200 "application/vnd.api+json; charset=utf-8"
    200 "application/xhtml+xml"
    200 "image/png\ntext/plain"
    201 "image/png"
    404 "image/png"
    204 nil)
  (are [type] (instance? BytesInputStream (body-of 1 200 type "ok"))
    nil
    ""
    "IMAGE/SVG+XML ; x=1"
    "application/javascript"
    "application/edn"
    "application/x-www-form-urlencoded"
    "application/octet-stream"
    "application/vnd.oasis.opendocument.text"
    "application/vnd.oasis.opendocument.text-master"
    "application/vnd.openxmlformats-officedocument.wordprocessingml.template"
    "application/vnd.openxmlformats-officedocument.presentationml.slideshow"
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"))

(deftest empty-bodies-obey-the-same-rule
  (is (= "" (body-of 1 204 "image/png" "")))
  (is (= "" (body-of 1 200 "text/html" "")))
  (is (zero? (.getCount ^BytesInputStream (body-of 1 200 nil "")))))

(deftest coercions
  (is (= "ok" (body-of 2 200 "image/png" "ok")))
  (is (instance? BytesInputStream (body-of 3 200 nil "ok")))
  (is (= [111 107] (vec (body-of 4 200 nil "ok"))))
  (is (= [111 107] (vec (body-of 5 200 nil "ok"))))
  (let [raw ^DynamicBytes (body-of 0 200 nil "ok")]
    (is (= 2 (.length raw)))))

(deftest charsets
  (are [type in out] (= out (body-of 2 200 type in))
    "text/plain"                          "\u00c3\u00a9" "é"
    "text/plain; charset=ISO-8859-1"      "\u00e9"       "é"
    "text/plain; charset=\"iso-8859-1\""  "\u00e9"       "é"
    "text/plain; CharSet = latin1"        "\u00e9"       "é"
    "text/plain; charset=bogus"           "\u00c3\u00a9" "é"
    "text/html" "<meta content=\"text/html;charset=iso-8859-1\">\u00e9"
    "<meta content=\"text/html;charset=iso-8859-1\">é"
    "text/xml" "<?xml version='1.0' encoding='ISO-8859-1'?>\u00e9"
    "<?xml version='1.0' encoding='ISO-8859-1'?>é"
    "text/plain" "\u00ef\u00bb\u00bfx" "\ufeffx"
    "text/plain" "\u00ff" "\ufffd"))

(deftest filters-see-headers-and-accumulated-bytes
  (let [seen   (atom [])
        filter (reify IFilter
                 (^boolean accept [_ ^Map headers] (swap! seen conj headers) true)
                 (^boolean accept [_ ^DynamicBytes body] (swap! seen conj (.length body)) true))
        l      ^RespListener (listener (atom []) filter inline 2)]
    (.onInitialLineReceived l HttpVersion/HTTP_1_1 HttpStatus/OK)
    (.onHeadersReceived l {"a" "b"})
    (.onBodyReceived l (byte-array 10) 3)
    (.onBodyReceived l (byte-array 10) 4)
    (is (= [{"a" "b"} 3 7] @seen))))

(deftest rejections-are-aborts
  (let [l ^RespListener (listener (atom []) (IFilter$MaxBodyFilter. 3) inline 2)]
    (.onBodyReceived l (byte-array 3) 3)
    (is (thrown-with-msg? AbortException #"Rejected when reading body, length: 4"
                          (.onBodyReceived l (byte-array 1) 1))))
  (let [nothing (reify IFilter
                  (^boolean accept [_ ^Map _] false)
                  (^boolean accept [_ ^DynamicBytes _] false))]
    (is (thrown-with-msg? AbortException #"Rejected when header received"
                          (.onHeadersReceived ^RespListener (listener (atom []) nothing inline 2) {})))))

(deftest pools-that-reject-deliver-their-exception
  (doseq [event [#(.onCompleted ^RespListener %) #(.onThrowable ^RespListener % (Exception. "x"))]]
    (let [outcome (atom [])]
      (event (listener outcome nil rejecting 2))
      (is (= 1 (count @outcome)))
      (is (instance? RejectedExecutionException (first @outcome))))))

(deftest handlers-that-throw-have-had-their-one-call
  (doseq [event [#(.onCompleted ^RespListener %) #(.onThrowable ^RespListener % (Exception. "x"))]]
    (let [calls   (atom 0)
          handler (reify IResponseHandler
                    (onSuccess [_ _ _ _] (swap! calls inc) (throw (IllegalStateException. "handler")))
                    (onThrowable [_ _] (swap! calls inc) (throw (IllegalStateException. "handler"))))
          l       (RespListener. handler nil inline (int 2))
          err     (ByteArrayOutputStream.)
          stderr  System/err]
      (.onInitialLineReceived l HttpVersion/HTTP_1_1 HttpStatus/OK)
      (System/setErr (PrintStream. err true))
      (try (event l) (finally (System/setErr stderr)))
      (is (= 1 @calls))
      (is (str/includes? (str err) "IllegalStateException: handler")))))

(deftest what-was-received-can-be-asked-for
  (let [l ^RespListener (listener (atom []) nil inline 2)]
    (is (nil? (.getStatus l)))
    (.onInitialLineReceived l HttpVersion/HTTP_1_1 (HttpStatus/valueOf 404))
    (.onHeadersReceived l {"x-a" "b"})
    (is (= 404 (.getCode (.getStatus l))))
    (is (= "b" (.getHeader l "X-A")))
    (is (nil? (.getHeader l "y")))))

(deftest filters-describe-themselves
  (is (= "Response Filter: ACCEPT all response" (str IFilter/ACCEPT_ALL)))
  (is (= "Response Filter: ACCEPT when body's length <= 10" (str (IFilter$MaxBodyFilter. 10)))))
