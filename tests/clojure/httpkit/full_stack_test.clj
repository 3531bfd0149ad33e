(ns httpkit.full-stack-test
  "A handler that catches a StackOverflowError may be the first of its JVM to use a channel, with hardly any stack left;
  other code may be the first to load the library. What fails there must work afterwards, in a JVM of its own."
  (:require [clojure.edn        :as edn]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is]]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server]))

(set! *warn-on-reflection* true)

;;;; In the other JVM

(defn- error
  "What `f` throws, unless it is for lack of stack; nil for nothing."
  [f]
  (try (f) nil
       (catch StackOverflowError e (throw e))
       (catch Throwable t (str t))))

(defn- error-where-the-stack-ends
  "Calls `f` in the last frame that there is room for, and one frame earlier each time that the stack does not suffice."
  [f]
  (try (error-where-the-stack-ends f)
       (catch StackOverflowError _ (error f))))

(defn- nothing [& _])

(def ^:private uses
  "Of a channel that streams."
  [["send!"        #(server/send! % "x" false)]
   ["a lazy seq"   #(server/send! % {:body (list "a" "b")} false)]
   ["open?"        server/open?]
   ["broadcast!"   #(server/broadcast! [%] "x")]
   ["close"        server/close]
   ["send! late"   #(server/send! % "x" false)]])

(def ^:private first-uses
  "Of one that has sent nothing."
  [["a stream" #(server/send! % {:status 200 :headers {"X-Y" "1"} :body (list "a" "b")} false)]
   ["a whole"  #(server/send! % {:status 200 :body "x"})]
   ["nothing"  server/close]])

(defn- errors-of
  "What a use throws where the stack ends, and what the same use throws in the next request."
  [port request begin use]
  (vec (for [call [error-where-the-stack-ends error]]
         (let [outcome (promise)]
           (reset! request (fn [ch] (begin ch) (deliver outcome (call #(use ch)))))
           (with-open [conn (wire/connect port)]
             (wire/send! conn (wire/get-request "/"))
             (deref outcome wire/patience-ms "no end"))))))

(defn serve
  "Prints {use errors}."
  []
  (let [request (atom nil)
        server  (server/run-server #(server/as-channel % {:on-open @request}) {:port 0 :legacy-return-value? false :error-logger nothing})
        port    (server/server-port server)
        begin   #(server/send! % "begun" false)]
    (error #(throw (Exception.))) ; initialises what is used below
    (prn (into {} (concat (for [[about use] first-uses] [about (errors-of port request identity use)])
                          (for [[about use] uses] [about (errors-of port request begin use)]))))
    (flush)
    (System/exit 0)))

;;;; In this one

(deftest what-a-full-stack-prevents-is-possible-afterwards
  (let [{:keys [exit out]} (subprocess/run "(require 'httpkit.full-stack-test) (httpkit.full-stack-test/serve)"
                                           :jvm-args subprocess/native-access)
        errors             (some->> (str/split-lines out) (filter #(str/starts-with? % "{")) last edn/read-string)]
    (is (= [0 (+ (count first-uses) (count uses))] [exit (count errors)]) out)
    (doseq [[about told] errors]
      (is (= [nil nil] told) about))))

(def ^:private load-where-the-stack-ends
  "Prints what the first attempt tells that does not fail for lack of stack. The class path is open before: the JDK's own
  loader loses an entry that it cannot open."
  "(clojure.java.io/resource \"native/httpkit.properties\")
   (import 'org.httpkit.jni.NativeLibrary)
   (defn attempt []
     (try (NativeLibrary/load) \"loaded\"
          (catch StackOverflowError e (throw e))
          (catch Throwable t (str t))))
   (defn where-the-stack-ends []
     (try (where-the-stack-ends)
          (catch StackOverflowError _ (attempt))))
   (println (where-the-stack-ends))")

(deftest the-library-is-loaded-as-soon-as-there-is-enough-stack
  ;; Interpreted, so that a frame is as large in each attempt.
  (let [{:keys [out]} (subprocess/run load-where-the-stack-ends :jvm-args (conj subprocess/native-access "-Xint"))]
    (is (= "loaded" (last (str/split-lines out))) out)))
