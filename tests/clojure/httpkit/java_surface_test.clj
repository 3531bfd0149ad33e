(ns httpkit.java-surface-test
  "Every class and member of tests/java-surface.edn is there, and the rules for all of them hold."
  (:require [clojure.edn          :as edn]
            [clojure.set          :as set]
            [clojure.string       :as str]
            [clojure.test         :refer [deftest is testing]]
            [httpkit.java-program :as java-program])
  (:import (java.lang.reflect Constructor Executable Field Member Method Modifier)))

(set! *warn-on-reflection* true)

(def ^:private surface
  (into (sorted-map) (edn/read-string (slurp "tests/java-surface.edn"))))

(defn- find-class
  "Not initialised, so that nothing here needs the native library."
  ^Class [^String class-name]
  (Class/forName class-name false (.getClassLoader org.httpkit.HttpUtils)))

(defn- own? [^Member member]
  (and (Modifier/isPublic (.getModifiers member))
       (not (.isSynthetic member))))

(defn- parameters [^Executable e]
  (str "(" (str/join "," (map #(.getSimpleName ^Class %) (.getParameterTypes e))) ")"))

(defn- modifiers [^Member member & names]
  (let [set? {"static"   (Modifier/isStatic (.getModifiers member))
              "final"    (Modifier/isFinal (.getModifiers member))
              "abstract" (Modifier/isAbstract (.getModifiers member))}]
    (str/join (map #(str % " ") (filter set? names)))))

(defn- signature [member]
  (condp instance? member
    Constructor (str "<init>" (parameters member))
    Method      (str (modifiers member "static" "abstract")
                     (.getSimpleName (.getReturnType ^Method member)) " "
                     (.getName ^Method member) (parameters member))
    Field       (str (modifiers member "static" "final")
                     (.getSimpleName (.getType ^Field member)) " " (.getName ^Field member))))

(defn- members
  "Public members that the class itself declares."
  [^Class c]
  (filter own? (concat (.getDeclaredConstructors c) (.getDeclaredMethods c) (.getDeclaredFields c))))

(deftest the-table-covers-the-surface
  (is (<= 55 (count surface))))

(deftest classes-are-of-their-kind
  (doseq [[class-name {:keys [is access static constants] superclass :extends interfaces :implements}] surface
          :let [c    (find-class class-name)
                mods (.getModifiers c)]]
    (testing class-name
      (is (= (not= :package access) (Modifier/isPublic mods)) "public")
      (is (= is (cond (.isEnum c)                :enum
                      (.isInterface c)           :interface
                      (Modifier/isAbstract mods) :abstract
                      :else                      :class)))
      (is (= (= :enum is) (Modifier/isFinal mods)) "only enums are final")
      (when (.getDeclaringClass c)
        (is (or (not static) (Modifier/isStatic mods)) "static"))
      (when superclass
        (is (= superclass (.getName (.getSuperclass c)))))
      (doseq [interface interfaces]
        (is (.isAssignableFrom (Class/forName interface) c) interface))
      (when constants
        (is (= (map str constants) (map #(.name ^Enum %) (.getEnumConstants c))))))))

(deftest members-are-there-as-they-were
  (doseq [[class-name {wanted :members}] surface]
    (testing class-name
      (is (empty? (set/difference (set wanted) (set (map signature (members (find-class class-name))))))))))

(defn- without-others
  "Constructors of these take no other arguments: ours alone would be taken for http-kit's."
  [class-name]
  (is (= (set (filter #(str/starts-with? % "<init>") (:members (surface class-name))))
         (disj (set (map signature (filter #(instance? Constructor %) (members (find-class class-name)))))
               "<init>(ServerOptions)"))
      class-name))

(deftest servers-and-ring-handlers-have-no-other-constructors
  (run! without-others ["org.httpkit.server.HttpServer" "org.httpkit.server.RingHandler" "org.httpkit.server.HttpRequest"]))

(def ^:private program
  (delay (Class/forName "surface.Surface" true
                        (java-program/loader
                          (java-program/compile! "tests/java/surface" (System/getProperty "java.class.path"))
                          (.getClassLoader org.httpkit.HttpUtils)))))

(deftest a-program-compiles-against-it-with-the-exceptions-that-it-catches
  (is (= {"read" 1, "skip" 1, "read into" 2, "address" (java.net.InetSocketAddress. "127.0.0.1" 1), "header" nil, "timer" true,
          "body" "ab", "headers" "10.0.0.1, 10.0.0.2", "remote" "10.0.0.1", "protocol" "HTTP/1.0", "start" 7,
          "token" true, "no token" false, "is token" true, "is no token" false, "charset name" "nosuch",
          "string" "text/plain", "no string" nil, "all" 100000, "ascii" "\r\n :",
          "frame" "hi", "codes" "1000 1001 1009", "away" 1001}
         (into {} (.invoke (.getMethod ^Class @program "values" (make-array Class 0)) nil (object-array 0))))))

(deftest interfaces-have-no-other-abstract-methods
  (doseq [[class-name {:keys [is] wanted :members}] surface
          :when (= :interface is)
          :let [abstract? #(str/starts-with? % "abstract ")]]
    (is (= (set (filter abstract? wanted))
           (set (filter abstract? (map signature (members (find-class class-name))))))
        class-name)))

(deftest untyped-calls-find-one-member
  (doseq [[class-name {wanted :members}] surface
          [called same] (group-by (fn [^Executable e] [(.getName e) (.getParameterCount e) (Modifier/isStatic (.getModifiers e))])
                                  (filter #(instance? Executable %) (members (find-class class-name))))
          :let [others (remove (set wanted) (map signature same))]]
    (when (seq others)
      (is (= 1 (count same)) (str class-name " " called ": " (str/join ", " others))))))
